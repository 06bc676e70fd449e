//! sysfs: devices and kernel objects as files.
