//! The tree of sysfs as a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Rank, Result, SpinLock};

/// Takes what was written, without the newline at the end.
pub(crate) type Store = Arc<dyn Fn(&str) -> Result<()> + Send + Sync>;
/// Makes text, with its newline.
pub(crate) type Show = Arc<dyn Fn() -> String + Send + Sync>;

/// A name's object.
#[derive(Clone)]
pub(crate) enum Item {
    Dir(Arc<Dir>),
    Link(String),
    File { show: Show, store: Option<Store>, mode: u32 },
}

/// A directory.
#[derive(Default)]
pub(crate) struct Dir {
    pub(crate) items: BTreeMap<String, Item>,
}

impl std::fmt::Debug for Dir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.items.keys()).finish()
    }
}

impl Dir {
    /// The directory at a path below this one, made if need be.
    pub(crate) fn at(&mut self, path: &str) -> &mut Dir {
        let mut here = self;
        for part in path.split('/').filter(|p| !p.is_empty()) {
            let item = here.items.entry(part.to_owned());
            let item = item.or_insert_with(|| Item::Dir(Arc::default()));
            if !matches!(item, Item::Dir(_)) {
                *item = Item::Dir(Arc::default());
            }
            let Item::Dir(d) = item else { unreachable!("it was just made one") };
            here = Arc::get_mut(d).expect("a tree under construction is not shared");
        }
        here
    }

    fn put(&mut self, path: &str, item: Item) -> &mut Dir {
        match path.rsplit_once('/') {
            Some((dir, name)) => self.at(dir).items.insert(name.to_owned(), item),
            None => self.items.insert(path.to_owned(), item),
        };
        self
    }

    /// A file that always says the same; the newline is added.
    pub(crate) fn text(&mut self, path: &str, text: impl std::fmt::Display) -> &mut Dir {
        let text = format!("{text}\n");
        let show: Show = Arc::new(move || text.clone());
        self.put(path, Item::File { show, store: None, mode: 0o444 })
    }

    /// A file whose text is made when it is read.
    pub(crate) fn live(
        &mut self,
        path: &str,
        show: impl Fn() -> String + Send + Sync + 'static,
    ) -> &mut Dir {
        self.put(path, Item::File { show: Arc::new(show), store: None, mode: 0o444 })
    }

    /// A setting: it reads as what was written last and has no other effect.
    pub(crate) fn setting(&mut self, path: &str, initial: &str) -> &mut Dir {
        let value = Arc::new(SpinLock::new(Rank::Leaf, initial.to_owned()));
        let kept = value.clone();
        let show: Show = Arc::new(move || format!("{}\n", *kept.lock()));
        let store: Store = Arc::new(move |new| {
            *value.lock() = new.to_owned();
            Ok(())
        });
        self.put(path, Item::File { show, store: Some(store), mode: 0o644 })
    }

    /// A choice: one of the words, shown in brackets, can be written.
    pub(crate) fn choice(
        &mut self,
        path: &str,
        words: &'static [&'static str],
        initial: &'static str,
    ) -> &mut Dir {
        let value = Arc::new(SpinLock::new(Rank::Leaf, initial));
        let kept = value.clone();
        let show: Show = Arc::new(move || {
            let now = *kept.lock();
            let mark = |w: &&str| if *w == now { format!("[{w}]") } else { (*w).to_owned() };
            words.iter().map(mark).collect::<Vec<_>>().join(" ") + "\n"
        });
        let store: Store = Arc::new(move |new| match words.iter().find(|w| **w == new) {
            Some(w) => {
                *value.lock() = w;
                Ok(())
            }
            None => base::err(base::Errno::EINVAL),
        });
        self.put(path, Item::File { show, store: Some(store), mode: 0o644 })
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> &mut Dir {
        self.put(path, Item::Link(target.to_owned()))
    }
}
