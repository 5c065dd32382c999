package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/lint/shell"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// secretIn names the secret that a text holds, "" if none.
func (l *linter) secretIn(s *step, text *syntax.Scalar) string {
	for _, u := range l.flows(text) {
		if found := l.secretOf(s, u); found != "" {
			return found
		}
	}
	return ""
}

func (l *linter) secretOf(s *step, u use) string {
	found := ""
	l.source(s, u, 0, func(f expr.Flow) bool {
		if f.Context == "secrets" || f.Context == "github" && reaches(f, []string{"token"}) {
			found = name(f)
		}
		return found != ""
	})
	return found
}

// secrets warns where a script prints one.
func (l *linter) secrets(s *step) {
	if s.script == nil {
		return
	}
	c := &secretScan{linter: l, step: s, own: map[string]string{}, env: map[string]string{}, tracing: -1}
	for i := range s.script.Commands {
		if l.full() {
			return
		}
		c.command(i, &s.script.Commands[i])
	}
}

type secretScan struct {
	*linter
	step *step
	// own are the script's variables that hold a secret; env remembers those of the environment.
	own, env map[string]string
	// tracing is where `set -x` stands, -1 while it is off.
	tracing int
}

// variable names the secret that a variable holds, "" if none.
func (c *secretScan) variable(name string) string {
	if found, ok := c.own[name]; ok {
		return found
	}
	found, ok := c.env[name]
	if !ok {
		if v := c.linter.env(c.step, name); v != nil {
			found = c.secretIn(c.step, v)
		}
		c.env[name] = found
	}
	return found
}

// word names the secret that a word expands to, and where in the script.
func (c *secretScan) word(w shell.Word) (secret string, at int) {
	if !w.Dynamic {
		return "", 0
	}
	uses := c.flows(c.step.ast.Run)
	first, _ := slices.BinarySearchFunc(uses, w.Start, func(u use, at int) int { return u.begin - at })
	for _, u := range uses[first:] {
		if u.begin >= w.End {
			break
		}
		if found := c.secretOf(c.step, u); found != "" {
			return found, u.offset
		}
	}
	for _, v := range w.Vars {
		if found := c.variable(v); found != "" {
			return found, w.Start
		}
	}
	return "", 0
}

func (c *secretScan) words(list []shell.Word) (secret string, at int) {
	for _, w := range list {
		if secret, at = c.word(w); secret != "" {
			return secret, at
		}
	}
	return "", 0
}

var printers = []string{"echo", "printf", "cat", "tee"}

func (c *secretScan) command(i int, cmd *shell.Command) {
	name := cmd.Name()
	for _, a := range cmd.Assign {
		variable, _, _ := strings.Cut(a.Text, "=")
		secret, _ := c.word(a)
		c.own[strings.TrimSuffix(variable, "+")] = secret
	}
	c.trace(name, cmd)
	var args []shell.Word
	if len(cmd.Words) > 1 {
		args = cmd.Words[1:]
	}
	switch {
	case slices.Contains(printers, name):
		texts := args
		if name == "cat" || name == "tee" {
			texts = cmd.Here
		}
		if len(texts) > 0 && strings.HasPrefix(texts[0].Text, "::add-mask::") {
			return
		}
		secret, at := c.words(texts)
		if where := c.destination(i); secret != "" && where != "" {
			c.report(at, secret, where)
		}
	case name == "env" && len(args) == 0, name == "printenv" && len(args) == 0, name == "export" && len(args) == 1 && args[0].Text == "-p":
		c.environment(i, cmd)
	case name == "printenv" && len(args) == 1:
		if secret := c.variable(args[0].Text); secret != "" && c.destination(i) != "" {
			c.report(cmd.Start, secret, c.destination(i))
		}
	case name == "curl" && slices.ContainsFunc(args, func(w shell.Word) bool { return verbose(w.Text) }):
		if secret, at := c.words(args); secret != "" && !cmd.Captured {
			c.warn(c.place(c.step.ast.Run, at), SecretPrinted, "leave `--verbose` out: it prints the headers of the request",
				"`curl --verbose` prints the secret `%s` that it sends", secret)
		}
	}
}

// verbose options of curl, alone or among other short ones.
func verbose(arg string) bool {
	return arg == "--verbose" || arg == "--trace-ascii" || len(arg) > 1 && arg[0] == '-' && arg[1] != '-' && len(arg) < 6 && strings.Contains(arg, "v")
}

// trace follows set -x and warns at it once, when a command with a secret follows.
func (c *secretScan) trace(name string, cmd *shell.Command) {
	if name == "set" {
		for k, a := range cmd.Args() {
			named := (a == "-o" || a == "+o") && k+1 < len(cmd.Args()) && cmd.Args()[k+1] == "xtrace"
			switch {
			case len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.Contains(a, "x"), named && a == "-o":
				c.tracing = cmd.Start
			case len(a) > 1 && a[0] == '+' && strings.Contains(a, "x"), named:
				c.tracing = -1
			}
		}
		return
	}
	if c.tracing < 0 {
		return
	}
	secret, _ := c.words(cmd.Words)
	if secret == "" {
		secret, _ = c.words(cmd.Assign)
	}
	if secret != "" {
		c.warn(c.place(c.step.ast.Run, c.tracing), SecretPrinted, "turn it off with `set +x` before commands that use secrets",
			"`set -x` prints every command, and one below uses the secret `%s`", secret)
		c.tracing = -1
	}
}

func (c *secretScan) environment(i int, cmd *shell.Command) {
	where := c.destination(i)
	if where == "" {
		return
	}
	for _, n := range c.envNames(c.step) {
		if secret := c.variable(n); secret != "" {
			c.report(cmd.Start, secret, where)
			return
		}
	}
}

func (c *secretScan) report(at int, secret, where string) {
	c.warn(c.place(c.step.ast.Run, at), SecretPrinted, "give it to the program that needs it on its standard input or in `env`, and print nothing of it",
		"the secret `%s` is printed into %s; masks hide its exact text only, not a part or another spelling of it", secret, where)
}

// filters pass what they read on to their output.
var filters = []string{"tee", "cat", "base64", "xxd", "od", "hexdump", "rev", "sed", "tr", "fold", "cut", "head", "tail", "awk", "jq", "grep", "sort"}

// destination says where a command's output can be read, "" if nowhere: it is a file, a variable, or another program's input.
func (c *secretScan) destination(i int) string {
	commands := c.step.script.Commands
	for range 10 {
		cmd := &commands[i]
		for _, r := range cmd.Redirects {
			if r.FD > 1 || r.Op[0] == '<' {
				continue
			}
			switch target := r.Target.Text; {
			case strings.Contains(target, "GITHUB_STEP_SUMMARY"):
				return "the job's summary"
			case r.Op == ">&" && (target == "1" || target == "2"), strings.HasPrefix(target, "/dev/std"), strings.HasPrefix(target, "/dev/fd"):
			default:
				return ""
			}
		}
		if cmd.Into < 0 {
			if cmd.Captured || cmd.Into != -1 {
				return ""
			}
			return "the log"
		}
		if i = cmd.Into; !slices.Contains(filters, commands[i].Name()) {
			return ""
		}
	}
	return ""
}
