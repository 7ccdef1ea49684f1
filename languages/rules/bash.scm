; What a reader of a shell script should look at twice. @finding is what is shown, @name completes the rule's name.

((command name: (command_name (word) @name)) @finding
  (#match? @name "^(.*/)?(rmdir|mkfs(\\..*)?|curl|wget|nc|ncat|netcat|chmod|chown|sudo|su|shutdown|reboot|poweroff|halt|init|systemctl|kill|killall|pkill|printenv|env|eval)$")
  (#set! rule "command"))
; Quoted, or kept from being an alias.
((command name: (command_name [(string (string_content) @name) (raw_string) @name (word) @name])) @finding
  (#match? @name "^[\\\\'](.*/)?(rmdir|mkfs(\\..*)?|curl|wget|nc|ncat|netcat|chmod|chown|sudo|su|shutdown|reboot|poweroff|halt|init|systemctl|kill|killall|pkill|printenv|env|eval)'?$")
  (#set! rule "command"))
((command name: (command_name (string . (string_content) @name .))) @finding
  (#match? @name "^(.*/)?(rmdir|mkfs(\\..*)?|curl|wget|nc|ncat|netcat|chmod|chown|sudo|su|shutdown|reboot|poweroff|halt|init|systemctl|kill|killall|pkill|printenv|env|eval)$")
  (#set! rule "command"))
; The grammar takes such a word at the beginning of a line for part of the line before, with the line's end in it.
((word) @name @finding
  (#match? @name "^\n\\\\(rmdir|mkfs(\\..*)?|curl|wget|nc|ncat|netcat|chmod|chown|sudo|su|shutdown|reboot|poweroff|halt|init|systemctl|kill|killall|pkill|printenv|env|eval)$")
  (#set! rule "command"))
((command argument: (word) @finding . argument: (word) @_a)
  (#match? @finding "^\n\\\\rm$") (#match? @_a "^(-[a-zA-Z]*[rR][a-zA-Z]*|--recursive)$")
  (#set! rule "rm-recursive"))
; Handed to what starts it.
((command name: (command_name (word) @_f) argument: (word) @name) @finding
  (#match? @_f "^(.*/)?(command|exec|builtin|xargs|nohup|setsid|nice|timeout|busybox)$")
  (#match? @name "^(.*/)?(rmdir|mkfs(\\..*)?|curl|wget|nc|ncat|netcat|chmod|chown|sudo|su|shutdown|reboot|poweroff|halt|init|systemctl|kill|killall|pkill|printenv|env|eval)$")
  (#set! rule "command"))
; Put together of pieces, which nobody does with a name that may be seen.
((command name: (command_name (concatenation) @_f)) @finding
  (#match? @_f "^[A-Za-z0-9_./-]*(['\"]|\\\\)") (#not-match? @_f "\\$")
  (#set! rule "disguised"))
; By a brace expansion. The grammar leaves out its first brace where it begins the word, and then sometimes the command.
((command_name (concatenation) @_f) @finding
  (#match? @_f "^([^$'\"]*\\{[^}]*|[^{$'\"]*)(,|\\.\\.).*\\}")
  (#set! rule "disguised"))
((command name: (command_name [(ansi_c_string) (command_substitution)])) @finding
  (#set! rule "disguised"))
((command name: (command_name (word) @_f)) @finding
  (#match? @_f "^[^\\\\]+\\\\[a-zA-Z]")
  (#set! rule "disguised"))
; By another name.
((variable_assignment value: [(word) (string) (raw_string)] @name) @finding
  (#match? @name "^[\"']?(.*/)?(curl|wget|ncat|netcat|sudo|chmod|chown|systemctl|killall|pkill)[\"']?$")
  (#set! rule "alias"))
((command name: (command_name (word) @_f) argument: (concatenation) @_a) @finding
  (#eq? @_f "alias") (#match? @_a "=[\"']?(rmdir|mkfs(\\..*)?|curl|wget|nc|ncat|netcat|chmod|chown|sudo|su|shutdown|reboot|poweroff|halt|init|systemctl|kill|killall|pkill|printenv|env|eval)( |[\"']?$)")
  (#set! rule "alias"))
; Whatever comes is run.
(pipeline (command name: (command_name (word) @name) !argument) @finding .
  (#match? @name "^(.*/)?(ba|da|z|k)?sh$")
  (#set! rule "piped"))

((command name: (command_name [(word) (raw_string) (concatenation)] @_f) argument: [(word) (string) (raw_string) (concatenation)] @_a) @finding
  (#match? @_f "^[\\\\']?(.*/)?rm'?$") (#match? @_a "^[\"']?-(-recursive|[a-zA-Z\"']*[rR][a-zA-Z\"']*)[\"']?$")
  (#set! rule "rm-recursive"))
((command name: (command_name (word) @_f) argument: (word) @_rm argument: (word) @_a) @finding
  (#match? @_f "^(.*/)?(command|exec|xargs|find|nohup|busybox)$") (#match? @_rm "^(.*/)?rm$")
  (#match? @_a "^(-[a-zA-Z]*[rR][a-zA-Z]*|--recursive)$")
  (#set! rule "rm-recursive"))
((command name: (command_name (word) @_f) argument: (_) @_a) @finding
  (#match? @_f "^(.*/)?dd$") (#match? @_a "^[\"']?if=")
  (#set! rule "dd"))
((declaration_command "export" @name) @finding
  (#set! rule "command"))

; Not the devices that swallow or stand for the script's own streams.
((file_redirect destination: (_) @name) @finding
  (#match? @name "^[\"']?/dev/") (#not-match? @name "^[\"']?/dev/(null|stdout|stderr|stdin|fd/[0-9]+|tty)[\"']?$")
  (#set! rule "redirect"))

; Paths, but for those that are only printed.
((command name: (command_name) @_f argument: [(word) (string) (raw_string) (concatenation)] @name) @finding
  (#not-any-of? @_f "echo" "printf") (#match? @name "/etc[\"']?/[\"']?(passwd|shadow)([^a-zA-Z0-9]|$)|(~|\\$HOME|\\$\\{HOME\\}|/root|/home/[^/]+)/\\.ssh([^a-zA-Z0-9]|$)")
  (#set! rule "path"))
((file_redirect destination: (_) @name) @finding
  (#match? @name "/etc[\"']?/[\"']?(passwd|shadow)([^a-zA-Z0-9]|$)|(~|\\$HOME|\\$\\{HOME\\}|/root|/home/[^/]+)/\\.ssh([^a-zA-Z0-9]|$)")
  (#set! rule "path"))
