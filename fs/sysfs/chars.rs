//! Character devices: /sys/devices/virtual/{mem,tty,misc}, their classes, /sys/dev/char.

use super::SysParts;
use super::tree::Dir;

/// The class directory of a driver's class in /proc/devices.
fn class_of(driver: &str, name: &str) -> Option<&'static str> {
    match driver {
        "mem" => Some("mem"),
        "misc" => Some("misc"),
        _ if name.starts_with("tty") || name == "console" || name == "ptmx" => Some("tty"),
        _ => None,
    }
}

pub(crate) fn fill(t: &mut Dir, parts: &SysParts) {
    for c in parts.chars.list() {
        let (ma, mi) = (c.dev.major, c.dev.minor);
        let Some(class) = class_of(c.class, &c.name).filter(|_| !c.name.contains('/')) else {
            continue;
        };
        let home = format!("devices/virtual/{class}/{}", c.name);
        let d = t.at(&home);
        d.text("dev", format_args!("{ma}:{mi}"));
        // The mode is told where it is not the usual 0600.
        let mode =
            if c.mode == 0o600 { String::new() } else { format!("\nDEVMODE={:04o}", c.mode) };
        d.text("uevent", format_args!("MAJOR={ma}\nMINOR={mi}\nDEVNAME={}{mode}", c.name));
        d.link("subsystem", &format!("../../../../class/{class}"));
        d.at("power");
        t.link(&format!("class/{class}/{}", c.name), &format!("../../{home}"));
        t.link(&format!("dev/char/{ma}:{mi}"), &format!("../../{home}"));
    }
    // Which consoles are in use: systemd's getty generator and others ask.
    let source = parts.source.clone();
    t.at("devices/virtual/tty/console").live("active", move || source.consoles().join(" ") + "\n");
    t.link("class/tty/console", "../../devices/virtual/tty/console");
    t.at("devices/virtual/tty/tty0").text("active", "tty1");
    t.link("class/tty/tty0", "../../devices/virtual/tty/tty0");
}
