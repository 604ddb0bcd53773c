# What tests/vm/apparmor.sh confines a service by: everything but one file.
profile rsvc-test flags=(attach_disconnected, mediate_deleted) {
  file,
  capability,
  network,
  signal,
  unix,
  deny /etc/hostname r,
}
