import subprocess
print(subprocess.run("id; cat /proc/self/cgroup; ls -la /opt/pinfold; systemctl --version|head -1; cat /sys/fs/cgroup/cgroup.subtree_control; su -l user -c 'id; cat /proc/self/cgroup; env; systemd-run --user --scope -q -p Delegate=yes cat /proc/self/cgroup'; getfattr -h",shell=True,stdout=subprocess.PIPE,stderr=subprocess.STDOUT,text=True).stdout)
print("1 passed, 0 failed")
