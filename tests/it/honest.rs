//! Honest programs: hardening that breaks them would ship as an outage. Each runs as its users run it, under the defaults
//! unless it says otherwise.

use crate::sandbox::Job;
use crate::support::{has_cgroups, has_program, runs};
use serde_json::json;

const MIB: u64 = 1 << 20;

/// Must exit with 0: its stdout.
fn run(program: &str, job: Job) -> Option<String> {
    has_program(program).then(|| job.limit("wall_ms", 90_000).run().exited())
}

fn python(script: &str) -> Option<String> {
    run("python3", Job::new(&["/usr/bin/python3", "-c", script]))
}

fn expect(got: Option<String>, expected: &str) {
    if let Some(got) = got {
        assert_eq!(got, expected);
    }
}

#[test]
pub(crate) fn shells_have_pipes_jobs_traps_and_substitution() {
    let script = r#"set -e
echo a | tr a b; x=$(echo sub); echo $x; (exit 3) || echo $?
sleep 0.05 & wait $!; trap 'echo trapped' EXIT
diff <(echo 1) <(echo 1) && cat <(echo process)
echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin < /dev/null
cat /dev/fd/3 3<<< here; exec 5<>file; echo five >&5; cat file
printf '%s\n' {1..3} | sort -r | head -1; for i in 1 2; do (echo $i &) ; done | sort; : > /dev/null; ulimit -n"#;
    let expected = "b\nsub\n3\nprocess\nout\nhere\nfive\n3\n1\n2\n1024\ntrapped\n";
    expect(run("bash", Job::new(&["bash", "-c", script])), expected);
}

#[test]
pub(crate) fn python_has_threads_processes_files_tls_and_databases() {
    expect(
        python(
            "import threading, concurrent.futures as f\nr = []\nts = [threading.Thread(target=r.append, args=(i,)) for i in range(20)]\n\
             [t.start() for t in ts]; [t.join() for t in ts]\nprint(len(r), sum(f.ThreadPoolExecutor(4).map(abs, range(10))))",
        ),
        "20 45\n",
    );
    expect(
        python(
            "import multiprocessing as m\nwith m.Pool(3) as p: print(sum(p.map(abs, range(10))))\nq = m.Queue(); q.put(1); print(q.get())\ns = m.shared_memory if hasattr(m, 'shared_memory') else None",
        ),
        "45\n1\n",
    );
    expect(
        python(
            "from multiprocessing import shared_memory as s\nx = s.SharedMemory(create=True, size=10); x.buf[0] = 7; print(x.buf[0]); x.close(); x.unlink()",
        ),
        "7\n",
    );
    expect(
        python(
            "import subprocess as s, tempfile, os\nprint(s.run(['echo', 'sub'], capture_output=True, text=True).stdout, end='')\nf = tempfile.NamedTemporaryFile(); f.write(b'x'); print(f.name.startswith('/tmp/'), os.path.expanduser('~'))",
        ),
        "sub\nTrue /workspace\n",
    );
    expect(python("import ssl\nprint(len(ssl.create_default_context().get_ca_certs()) > 50)"), "True\n");
    expect(
        python(
            "import sqlite3\nc = sqlite3.connect('x.db'); c.execute('create table t(a)'); c.execute('insert into t values (1)'); c.commit(); c.execute('pragma journal_mode=wal'); print(c.execute('select * from t').fetchall())",
        ),
        "[(1,)]\n",
    );
    expect(
        python(
            "import asyncio\nasync def f():\n p = await asyncio.create_subprocess_exec('echo', 'async', stdout=-1)\n print((await p.communicate())[0].decode(), end='')\nasyncio.run(f())",
        ),
        "async\n",
    );
    expect(
        python(
            "import socket, getpass, pwd, os, time, locale\nprint(socket.gethostname(), getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir, locale.getpreferredencoding())",
        ),
        "pinfold sandbox /workspace UTF-8\n",
    );
    expect(
        python(
            "import ctypes, mmap, os, signal\nm = mmap.mmap(-1, 4096); m[0] = 1\nprint(len(os.sched_getaffinity(0)) > 0, ctypes.CDLL(None).getpid() == os.getpid(), signal.SIGTERM.name)",
        ),
        "True True SIGTERM\n",
    );
}

#[test]
pub(crate) fn node_has_workers_children_files_and_crypto() {
    let script = r#"
const { Worker } = require('worker_threads'), { execFileSync, spawnSync } = require('child_process'), fs = require('fs');
fs.mkdirSync('a/b', { recursive: true }); fs.writeFileSync('a/b/c', 'text');
const child = execFileSync('echo', ['child']).toString().trim();
const hash = require('crypto').createHash('sha256').update('abc').digest('hex').slice(0, 8);
const worker = new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
worker.on('message', n => console.log(child, n, fs.readFileSync('a/b/c', 'utf8'), hash));
"#;
    let job = || Job::new(&["/usr/bin/node", "-e", script]);
    expect(run("node", job().limit("memory_bytes", 1024 * MIB)), "child 42 text ba7816bf\n");
    expect(run("node", job()), "child 42 text ba7816bf\n");
}

#[test]
fn java_compiles_and_runs() {
    let source = "import java.util.concurrent.*; import java.util.stream.*; public class Main { public static void main(String[] a) throws Exception { \
                  System.out.println(IntStream.range(0, 1000).parallel().sum()); var p = new ProcessBuilder(\"echo\", \"child\").start(); \
                  System.out.println(new String(p.getInputStream().readAllBytes()).trim()); \
                  System.out.println(java.nio.file.Files.createTempFile(\"x\", \"y\").startsWith(\"/tmp\")); } }";
    let job = Job::sh("javac Main.java && java Main").files(&[("Main.java", source)]).limit("memory_bytes", 1024 * MIB);
    expect(run("javac", job), "499500\nchild\ntrue\n");
}

#[test]
fn c_and_cpp_are_compiled_linked_and_run() {
    let c = "#include <pthread.h>\n#include <stdio.h>\n#include <math.h>\nstatic void *f(void *x) { return x; }\n\
             int main(void) { pthread_t t; pthread_create(&t, 0, f, 0); pthread_join(t, 0); printf(\"%.0f\\n\", sqrt(49)); return 0; }\n";
    let cpp = "#include <iostream>\n#include <thread>\nint main() { std::thread t([] { std::cout << \"thread\\n\"; }); t.join(); try { throw 1; } catch (int) { std::cout << \"caught\\n\"; } }\n";
    let script = "gcc -O2 -Wall m.c -o m -lm -lpthread && ./m && g++ -O1 m.cpp -o p && ./p";
    expect(run("gcc", Job::sh(script).files(&[("m.c", c), ("m.cpp", cpp)])), "7\nthread\ncaught\n");
    // Where no cgroup holds the memory RLIMIT_DATA does, and the sanitizer reserves terabytes of it.
    if has_cgroups() {
        let script = "gcc -fsanitize=address m.c -o s -lm && ./s";
        let job = Job::sh(script).files(&[("m.c", c)]).with("env", json!({"ASAN_OPTIONS": "detect_leaks=0"}));
        expect(run("gcc", job), "7\n");
    }
    let rules = "all: x\n\t@cat x\nx: y z\n\t@cat y z > x\ny:\n\t@echo y > y\nz:\n\t@echo z > z\n";
    expect(run("make", Job::new(&["make", "-s", "-j4"]).files(&[("Makefile", rules)])), "y\nz\n");
}

#[test]
fn go_builds_and_runs() {
    let source = "package main\nimport \"fmt\"\nfunc main() { c := make(chan int); go func() { c <- 42 }(); fmt.Println(<-c) }\n";
    let job = Job::sh("go run main.go")
        .files(&[("main.go", source)])
        .with("env", json!({"GOCACHE": "/tmp/go", "GOPATH": "/tmp/path"}));
    expect(run("go", job.limit("memory_bytes", 2048 * MIB)), "42\n");
}

#[test]
fn git_commits_clones_and_merges() {
    let script = "git config --global user.email a@b; git config --global user.name n; git init -q -b main one && cd one && echo x > f && \
                  git add f && git commit -qm first && cd .. && git clone -q one two && cd two && git log --format=%s && \
                  git switch -qc side && echo y > g && git add g && git commit -qm second && git switch -q main && git merge -q side && \
                  git gc -q && git fsck --no-progress && ls";
    expect(run("git", Job::sh(script)), "first\nf\ng\n");
}

#[test]
pub(crate) fn perl_awk_and_the_everyday_tools_work() {
    expect(
        run(
            "perl",
            Job::new(&[
                "perl",
                "-e",
                "print `echo sub`; my $p = fork // die; exit 0 unless $p; wait; print qq(forked $?\n)",
            ]),
        ),
        "sub\nforked 0\n",
    );
    let script = "awk 'BEGIN { print 1 + 1 }'; echo b a | tr ' ' '\\n' | sort | xargs; tar cf - /etc/passwd 2>/dev/null | tar tf -; \
                  gzip -c /etc/passwd | gunzip | wc -l; find /etc -maxdepth 1 -name passwd; sed -n 1p /etc/hostname; mktemp -d | cut -c1-5; \
                  seq 3 | paste -sd+ | head -1; timeout 0.05 sleep 5; echo $?; date -u -d @0 +%Y; cp -a /etc/passwd copy && cmp /etc/passwd copy && mv copy moved && ln moved hard && stat -c %h hard";
    let text = Job::sh(script).run().exited();
    assert_eq!(text, "2\na b\netc/passwd\n3\n/etc/passwd\npinfold\n/tmp/\n1+2+3\n124\n1970\n2\n");
}

#[test]
pub(crate) fn locale_and_time_zone_are_there() {
    let text = Job::sh("locale charmap; TZ=Asia/Tokyo date -d @0 +%H; printf '\\303\\251' | wc -m").run().exited();
    assert_eq!(text, "UTF-8\n09\n1\n");
}

#[test]
fn editors_and_terminals_work() {
    let job =
        Job::new(&["vim", "-es", "-u", "NONE", "-c", "%s/old/new/", "-c", "wq", "f"]).files(&[("f", "old text\n")]);
    if has_program("vim") {
        let answer = Job::sh("vim -es -u NONE -c '%s/old/new/' -c wq f; cat f").files(&[("f", "old text\n")]).run();
        assert_eq!(answer.exited(), "new text\n");
    }
    drop(job);
    if has_program("script") {
        let text = Job::sh("script -qec 'tty; stty -echo; stty size >/dev/null && echo fine' /dev/null").run().exited();
        assert!(text.starts_with("/dev/pts/") && text.contains("fine"), "{text}");
    }
    expect(
        python(
            "import pty, os\npid, fd = pty.fork()\nif pid == 0: os.write(1, b'child'); os._exit(0)\nprint(os.read(fd, 99)); os.waitpid(pid, 0)",
        ),
        "b'child'\n",
    );
}

#[test]
pub(crate) fn sockets_within_the_sandbox_work() {
    expect(
        python(
            "import socket, threading\ns = socket.create_server(('localhost', 0)); t = threading.Thread(target=lambda: s.accept()[0].sendall(b'hi')); t.start()\nprint(socket.create_connection(s.getsockname()).recv(9))\na, b = socket.socketpair(); a.sendall(b'pair'); print(b.recv(9))\nu = socket.socket(socket.AF_UNIX); u.bind('x.sock'); u.listen(); c = socket.socket(socket.AF_UNIX); c.connect('x.sock'); print('unix')\nl = socket.create_server(('::1', 0), family=socket.AF_INET6); print(l.getsockname()[0])",
        ),
        "b'hi'\nb'pair'\nunix\n::1\n",
    );
}

#[test]
fn nobody_dies_of_sigsys_in_hundreds_of_parallel_runs() {
    // Threads, forks and libc's own fallbacks, side by side with all the other tests.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..runs(50) {
                    let answer =
                        Job::sh("(echo a | cat) && ls / >/dev/null && sleep 0.001").limit("wall_ms", 60_000).run();
                    assert_eq!(answer.exited(), "a\n");
                }
            });
        }
    });
}
