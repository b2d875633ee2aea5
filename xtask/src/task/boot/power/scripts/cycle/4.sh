step second-call hadump-boot
step report sh -c 'cat "$(ls -d /var/crash/*/vmcore-report.txt | tail -n 1)"'
step verify sh -c 'hadump verify "$(ls -d /var/crash/*/vmcore | tail -n 1)"'
finish
