//! `pinfold attach` and `pinfold exec -t`, with the terminal of whoever sits before them.

use crate::emulator::Emulator;
use crate::held::Home;

#[test]
fn a_person_attaches_leaves_and_comes_back() {
    let home = Home::new();
    home.start("box", &[]);
    let mut emulator = Emulator::new(33, 101);
    let mut child = emulator.start(home.pinfold(&["attach", "box", "--shell", "sh"]));
    emulator.sees("$ ");
    assert!(emulator.is_raw());
    emulator.types("stty size; kept=here\r");
    emulator.sees("33 101");
    emulator.types("\x10\x11");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    emulator.sees("detached");
    assert!(!emulator.is_raw());
    let list = home.json(&["attach", "box", "--json"]);
    assert_eq!((list["name"].as_str(), list["shell"].as_str()), (Some("main"), Some("sh")), "{list}");
    let mut emulator = Emulator::new(24, 80);
    let mut child = emulator.start(home.pinfold(&["attach", "box"]));
    emulator.sees("33 101");
    // One of the two keys alone is the shell's.
    emulator.types("\x10\x15echo back $kept; exit 7\r");
    emulator.sees("back here");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(!emulator.is_raw());
    home.fails(&["attach", "box"], "needs a terminal on stdin");
    home.fails(&["attach", "nobody", "--json"], "no sandbox");
}

#[test]
fn a_command_on_a_terminal_of_its_own_has_the_size_and_keys_of_ours() {
    let home = Home::new();
    home.start("box", &[]);
    let mut emulator = Emulator::new(33, 101);
    let script =
        "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM ready; read line; echo got $line; exit 5";
    let mut child = emulator.start(home.pinfold(&["exec", "-it", "box", "--", "sh", "-c", script]));
    assert!(emulator.sees("xterm ready").contains("33 101"));
    assert!(emulator.is_raw());
    emulator.resize(40, 90);
    emulator.types("some line\r");
    emulator.sees("got some line");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(!emulator.is_raw());
    let mut child = emulator.start(home.pinfold(&["exec", "-t", "box", "--", "cat"]));
    emulator.types("x\r");
    emulator.sees("x\r\nx\r\n");
    emulator.types("\x03");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut child = emulator.start(home.pinfold(&["exec", "-t", "box", "--", "/does/not/exist"]));
    assert_eq!(child.wait().unwrap().code(), Some(127));
    assert!(!emulator.is_raw());
    home.fails(&["exec", "-t", "box", "--", "true"], "needs a terminal on stdin");
}

#[test]
fn a_terminal_is_as_before_when_attach_is_told_to_end() {
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        for floods in [false, true] {
            let home = Home::new();
            home.start("box", &[]);
            let mut emulator = Emulator::new(24, 80);
            let before = tcgetattr(&emulator.terminal).unwrap();
            let mut child = emulator.start(&home, &["attach", "box", "--shell", "sh"]);
            emulator.sees("$ ");
            emulator.types("printf '\\033[?1000h\\033[?25l\\033[?1049h'; echo $((6*7))\r");
            emulator.sees("42\r\n");
            assert!(emulator.is_raw());
            if floods {
                // What comes out is not read: it is no reason to stay.
                emulator.types("yes\r");
                emulator.sees("y\r\ny\r\n");
            }
            crate::sandbox::kill(i32::try_from(child.id()).unwrap(), signal);
            let shown = emulator.sees("detached");
            assert!(["\x1b[?1000;", "1049l", "\x1b[?25h"].iter().all(|mode| shown.contains(mode)), "{shown:?}");
            assert_eq!(child.wait().unwrap().code(), Some(0));
            let after = tcgetattr(&emulator.terminal).unwrap();
            let modes = |it: &rustix::termios::Termios| (it.local_modes, it.input_modes, it.output_modes);
            assert_eq!(modes(&before), modes(&after));
            let list = home.json(&["attach", "box", "--json"]);
            assert_eq!((&list["ended"], &list["clients"]), (&serde_json::Value::Null, &0.into()), "{list}");
        }
    }
}
