step second-call hadump-boot
step verify sh -c 'hadump verify "$(ls -d /var/crash/*/vmcore | tail -n 1)"'
finish
