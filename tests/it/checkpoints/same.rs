//! A job sees the same in layers as in one directory, whatever was saved in between.

use super::{layers, save, script};
use crate::support::has_program;
use crate::workspaces::Home;

/// Each is a job of its own; in the one workspace a checkpoint is made after each.
const STEPS: [&str; 6] = [
    "mkdir -p a/b/c big empty; echo 1 > a/b/c/f; echo 2 > a/g; ln -s ../g a/b/link; ln -s /etc/passwd out; mkfifo pipe; \
     truncate -s 3M holes; printf end >> holes; i=0; while [ $i -lt 40 ]; do echo $i > big/$i; i=$((i+1)); done; \
     printf x > \"$(printf 'odd\\377\\nname')\"; echo h > h1; ln h1 h2; chmod 755 h1; mkdir closed; echo c > closed/c; chmod 000 closed",
    "rm -r a/b; mkdir a/b; echo new > a/b/n; rm big/1*; echo more >> big/2; mv a/g a/moved; rm pipe; mkdir pipe; chmod 700 closed",
    "mv a z; rmdir empty; echo file > empty; rm -r pipe; ln -s z pipe; touch -d @1000000000 z/moved; rm closed/c; echo d > closed/d",
    "rm -r z/b; cp -a z y; rm -r z; mkdir z; echo again > z/again; : > holes; rm out; mkdir out; mkdir -p y/b/c/d",
    "rm -rf big closed; mkdir big; echo only > big/only; chmod 1777 y; printf over > \"$(printf 'odd\\377\\nname')\"",
    "rm -rf ./* ; mkdir last; echo last > last/f",
];

/// Kinds, permissions, owners, sizes, times of files, targets, and what is in them.
const LOOK: &str = "find . -type d -printf '%p %y %m %u\\n' -o -type f -printf '%p %y %m %u %s %T@ ' -exec cat '{}' ';' -printf '\\n' \
                    -o -printf '%p %y %u %l\\n' 2> /dev/null | tr -d '\\0' | LC_ALL=C sort";

#[test]
fn what_a_row_of_jobs_does_comes_to_the_same_tree() {
    if !has_program("find") {
        return;
    }
    let home = Home::new();
    let store = home.store();
    home.create("plain");
    home.create("layered");
    home.create("compacted");
    let (mut saved, mut looks) = (Vec::new(), Vec::new());
    for (number, step) in STEPS.iter().enumerate() {
        // A clock that stands still: each tree gets the same times for what it writes.
        let step = format!(
            "{step}; find . -newermt @1500000000 ! -type d -exec touch -h -d @{} '{{}}' + 2> /dev/null || true",
            1_600_000_000 + number
        );
        let mut trees = Vec::new();
        for id in ["plain", "layered", "compacted"] {
            script(&home, id, &step);
            trees.push(script(&home, id, LOOK));
        }
        assert_eq!(trees[0], trees[1], "step {number}");
        assert_eq!(trees[0], trees[2], "step {number}");
        looks.push(trees.remove(0));
        saved.push(save(&store, "layered", "step"));
        // The same after all that was saved was given up and became one layer.
        let one = save(&store, "compacted", "step");
        store.checkpoints("compacted").remove(&one).unwrap();
        store.checkpoints("compacted").compact().unwrap();
        assert_eq!(script(&home, "compacted", LOOK), looks[number], "compacted after step {number}");
    }
    for number in [3, 0, 5, 1, 4, 2] {
        store.checkpoints("layered").rollback(&saved[number], true).unwrap();
        assert_eq!(script(&home, "layered", LOOK), looks[number], "back to step {number}");
    }
    // What two checkpoints differ in does not depend on which layers they are made of.
    let forked = store.checkpoints("layered").fork(Some(&saved[2]), "fork").unwrap();
    script(
        &home,
        "fork",
        &format!(
            "{}; find . -newermt @1500000000 ! -type d -exec touch -h -d @1600000003 '{{}}' + 2> /dev/null || true",
            STEPS[3]
        ),
    );
    let by_fork = store.checkpoints("fork").diff(Some(&forked.checkpoint.id), None).unwrap();
    let by_thread = store.checkpoints("layered").diff(Some(&saved[2]), Some(&saved[3])).unwrap();
    assert_eq!(super::lines(&by_fork), super::lines(&by_thread));
    for id in ["plain", "layered", "compacted", "fork"] {
        store.remove(id, false).unwrap();
    }
    assert_eq!((layers(&home), home.limbo()), (0, 0));
}
