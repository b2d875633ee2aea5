# Somebody else gives the memory back, a distribution's script perhaps, and registers again.
step release write 1 /sys/kernel/fadump/release_mem
step status hadump status
step status-json hadump status --json
state released
step convert hadump convert / -o /var/tmp/converted
step save hadump save --to /var/crash
step hadump-boot hadump-boot
step what-is-left hadump save --to /var/left/ --what-is-left
step register write 1 /sys/kernel/fadump/registered
step status-registered hadump status
state registered-again
# Somebody gets the page that the header of the next dump is in.
step fill memory fill 30
crash
