//! /proc/net and /proc/sysvipc: what is shown comes from net and the kernel's IPC; without them, the header.

use base::Result;

use super::Ctx;
use super::node::{Entry, text};
use super::root::table;
use super::source::Table;

macro_rules! tables {
    ($kind:ident, $($name:literal => $header:expr),* $(,)?) => {
        [$({
            fn show(c: &Ctx<'_>) -> Result<Vec<u8>> {
                table(c, Table::$kind($name), $header)
            }
            text($name, show)
        }),*]
    };
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
uid  timeout inode                                                     \n";
const TCP6: &str = "  sl  local_address                         remote_address                        \
st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
uid  timeout inode ref pointer drops             \n";
const UDP6: &str = "  sl  local_address                         remote_address                        \
st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const RAW: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
uid  timeout inode ref pointer drops\n";

/// /proc/PID/net.
pub(crate) static NET: [Entry; 28] = tables!(Net,
    "arp" => "IP address       HW type     Flags       HW address            Mask     Device\n",
    "dev" => "Inter-|   Receive                                                |  Transmit\n \
face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
colls carrier compressed\n",
    "dev_mcast" => "",
    "fib_trie" => "",
    "icmp" => RAW,
    "if_inet6" => "",
    "igmp" => "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n",
    "ip_tables_names" => "",
    "ipv6_route" => "",
    "netlink" => "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    \
Inode\n",
    "netstat" => "",
    "packet" => "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n",
    "protocols" => "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de \
sh ss gs se re bi br ha uh gp em\n",
    "ptype" => "Type Device      Function\n",
    "raw" => RAW,
    "raw6" => UDP6,
    "route" => "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT    \
                                                   \n",
    "rt_cache" => "",
    "snmp" => "",
    "snmp6" => "",
    "sockstat" => "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n\
UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
    "sockstat6" => "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\n\
FRAG6: inuse 0 memory 0\n",
    "softnet_stat" => "",
    "tcp" => TCP,
    "tcp6" => TCP6,
    "udp" => UDP,
    "udp6" => UDP6,
    "unix" => "Num       RefCount Protocol Flags    Type St Inode Path\n",
);

/// /proc/sysvipc.
pub(crate) static SYSVIPC: [Entry; 3] = tables!(SysvIpc,
    "msg" => "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid  \
    stime      rtime      ctime\n",
    "sem" => "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    "shm" => "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  \
cgid      atime      dtime      ctime                   rss                  swap\n",
);
