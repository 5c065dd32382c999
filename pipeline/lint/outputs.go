package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/lint/shell"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// outputsUsed warns about outputs that a step uses and nobody sets.
func (l *linter) outputsUsed(s *step) {
	a := s.ast
	l.outputsIn(s.job, a.If, true)
	for _, text := range []*syntax.Scalar{a.Name, a.Run, a.WorkingDirectory, a.ContinueOnError, a.TimeoutMinutes} {
		l.outputsIn(s.job, text, false)
	}
	for _, m := range []*syntax.Map{a.With, a.Env} {
		l.outputsInMap(s.job, m)
	}
}

// outputsOfJob warns about those that the job's own keys use.
func (l *linter) outputsOfJob(j *job) {
	a := j.ast
	l.outputsIn(j, a.If, true)
	for _, text := range slices.Concat(a.RunsOn, a.Pool, []*syntax.Scalar{a.Name, a.TimeoutMinutes, a.ContinueOnError}) {
		l.outputsIn(j, text, false)
	}
	if a.Strategy != nil && a.Strategy.Matrix != nil {
		a.Strategy.Matrix.Scalars(func(v *syntax.Scalar) { l.outputsIn(j, v, false) })
	}
	if a.Container != nil {
		l.outputsIn(j, a.Container.Image, false)
		l.outputsInMap(j, a.Container.Env)
	}
	l.outputsInMap(j, a.Env)
	l.outputsInMap(j, a.Outputs)
}

func (l *linter) outputsInMap(j *job, m *syntax.Map) {
	if m == nil {
		return
	}
	for _, p := range m.Pairs {
		l.outputsIn(j, p.Value, false)
	}
}

func (l *linter) outputsIn(j *job, text *syntax.Scalar, condition bool) {
	for _, u := range references(text, condition) {
		if l.full() {
			return
		}
		if len(u.Path) < 3 || !strings.EqualFold(u.Path[1], "outputs") || u.Path[0] == "*" || u.Path[2] == "*" {
			continue
		}
		switch u.Context {
		case "needs":
			l.neededOutput(j, text, u)
		case "steps":
			l.stepOutput(j, text, u)
		}
	}
}

// neededOutput: check warns already where the job is not in `needs`.
func (l *linter) neededOutput(j *job, text *syntax.Scalar, u use) {
	from := l.byID[strings.ToLower(u.Path[0])]
	if from == nil || !slices.ContainsFunc(j.ast.Needs, func(n *syntax.Scalar) bool { return strings.EqualFold(n.Text, u.Path[0]) }) {
		return
	}
	var declared []string
	if from.ast.Uses != nil {
		l.calledOutput(from, text, u)
		return
	}
	if !from.ast.HasSteps {
		return
	}
	if from.ast.Outputs != nil {
		for _, p := range from.ast.Outputs.Pairs {
			if strings.EqualFold(p.Key.Text, u.Path[2]) {
				return
			}
			declared = append(declared, p.Key.Text)
		}
	}
	hint := diag.DidYouMean(u.Path[2], declared)
	if hint == "" {
		hint = "name it under `outputs` of the job `" + from.ast.ID.Text + "`: what a step sets stays inside its job"
	}
	l.warn(l.place(text, u.offset), UnsetOutput, hint, "`%s` is always empty: the job `%s` has no such output", name(u.Flow), from.ast.ID.Text)
}

// calledOutput warns about an output that a called workflow does not declare.
func (l *linter) calledOutput(from *job, text *syntax.Scalar, u use) {
	if l.callee == nil {
		return
	}
	called := l.callee(from.ast)
	if called == nil {
		return
	}
	var declared []string
	for _, e := range called.On {
		if e.Name.Text != "workflow_call" {
			continue
		}
		for _, o := range e.Outputs {
			if strings.EqualFold(o.Name.Text, u.Path[2]) {
				return
			}
			declared = append(declared, o.Name.Text)
		}
	}
	l.warn(l.place(text, u.offset), UnsetOutput, diag.DidYouMean(u.Path[2], declared), "`%s` is always empty: `%s`, which the job `%s` calls, declares no such output",
		name(u.Flow), called.Path, from.ast.ID.Text)
}

// stepOutput: check warns already where there is no such step.
func (l *linter) stepOutput(j *job, text *syntax.Scalar, u use) {
	from := j.ids[strings.ToLower(u.Path[0])]
	output := u.Path[2]
	switch {
	case from == nil:
	case from.ref.Local:
		l.actionOutput(from, text, u)
	case from.ast.Uses != nil:
		if !from.isKnown || from.lore.Sets(output) {
			return
		}
		hint := diag.DidYouMean(output, from.lore.Outputs)
		if hint == "" && len(from.lore.Outputs) > 0 {
			hint = "it sets " + strings.Join(from.lore.Outputs, ", ")
		}
		l.warn(l.place(text, u.offset), UnsetOutput, hint, "`%s` is always empty: %s sets no such output", name(u.Flow), from.ref.Name)
	case from.script != nil:
		if set, all := outputsOf(from); all && !slices.ContainsFunc(set, func(n string) bool { return strings.EqualFold(n, output) }) {
			hint := diag.DidYouMean(output, set)
			if hint == "" {
				hint = "write it in that step: echo \"" + clip(output) + "=…\" >> \"$GITHUB_OUTPUT\""
			}
			l.warn(l.place(text, u.offset), UnsetOutput, hint, "`%s` is always empty: the script of the step `%s` (line %d) does not write it to $GITHUB_OUTPUT",
				name(u.Flow), from.ast.ID.Text, from.ast.Pos.Line)
		}
	}
}

// actionOutput warns about an output that a composite action does not declare; what a program sets nobody knows.
func (l *linter) actionOutput(from *step, text *syntax.Scalar, u use) {
	if l.action == nil {
		return
	}
	a := l.action(from.ast)
	if a == nil || a.Runs.Kind != syntax.Composite {
		return
	}
	var declared []string
	for _, o := range a.Outputs {
		if strings.EqualFold(o.Name.Text, u.Path[2]) {
			return
		}
		declared = append(declared, o.Name.Text)
	}
	hint := diag.DidYouMean(u.Path[2], declared)
	if hint == "" {
		hint = "declare it under `outputs` of " + a.File.Path
	}
	l.warn(l.place(text, u.offset), UnsetOutput, hint, "`%s` is always empty: the action `%s` has no such output", name(u.Flow), from.ast.Uses.Text)
}

func clip(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

var outputLine = regexp.MustCompile(`(?m)^\s*([A-Za-z_][A-Za-z0-9_-]*)(=|<<)`)

// plainCommands write no output by themselves: they are shell's own, or general tools that know nothing of workflows.
var plainCommands = strings.Fields(`: [ [[ test true false exit return cd pwd export set unset shift local declare read sleep wait trap umask
	echo printf cat tee head tail grep egrep fgrep sed awk cut tr sort uniq wc rev xargs date basename dirname realpath readlink
	ls mkdir rm cp mv touch chmod chown ln find du df stat tar gzip gunzip zip unzip diff cmp id whoami uname hostname env printenv seq
	curl wget jq yq git openssl base64 md5sum sha1sum sha256sum shasum kill ps command type which break continue eval_ ((`)

// outputsOf are the outputs that a step's script writes; all is false where another program or a computed name may write more.
func outputsOf(s *step) (set []string, all bool) {
	if s.script.Partial {
		return nil, false
	}
	all = true
	for i := range s.script.Commands {
		c := &s.script.Commands[i]
		text, deprecated := commandOutput(c)
		if deprecated {
			set = append(set, text)
			all = all && text != ""
		}
		if writesOutputFile(c, s.script.Commands) {
			names, ok := writtenNames(c)
			set = append(set, names...)
			all = all && ok
			continue
		}
		plain := len(c.Words) == 0 || slices.Contains(plainCommands, c.Name()) || s.script.Functions[c.Name()] || isArithmetic(c)
		all = all && plain && !mentions(c, "GITHUB_OUTPUT")
	}
	return set, all
}

func isArithmetic(c *shell.Command) bool {
	return len(c.Words) > 0 && (strings.HasSuffix(c.Words[0].Text, "++") || strings.HasSuffix(c.Words[0].Text, "--"))
}

// mentions: the command gets the file's name otherwise, or an assignment keeps it for later.
func mentions(c *shell.Command, variable string) bool {
	for _, list := range [][]shell.Word{c.Words, c.Assign, c.Here} {
		for _, w := range list {
			if strings.Contains(w.Text, variable) {
				return true
			}
		}
	}
	return false
}

// writesOutputFile: its output goes to $GITHUB_OUTPUT, by a redirection or through tee.
func writesOutputFile(c *shell.Command, all []shell.Command) bool {
	for _, r := range c.Redirects {
		if r.FD <= 1 && r.Op[0] != '<' && isOutputFile(r.Target.Text) {
			return true
		}
	}
	if c.Into >= 0 && c.Into < len(all) && all[c.Into].Name() == "tee" {
		return slices.ContainsFunc(all[c.Into].Args(), isOutputFile)
	}
	return false
}

func isOutputFile(s string) bool { return strings.Contains(s, "GITHUB_OUTPUT") }

// writtenNames are the names in what the command prints; ok is false where it can't be told.
func writtenNames(c *shell.Command) (names []string, ok bool) {
	var texts []shell.Word
	switch c.Name() {
	case "echo":
		if texts = c.Words[1:]; len(texts) > 1 {
			texts = slices.DeleteFunc(slices.Clone(texts), func(w shell.Word) bool { return strings.HasPrefix(w.Text, "-") })
		}
		texts = texts[:min(1, len(texts))]
	case "printf":
		texts = c.Words[1:min(2, len(c.Words))]
	case "cat", "tee":
		texts = c.Here
	case "":
		return nil, len(c.Words) == 0
	}
	if len(texts) == 0 {
		return nil, c.Name() == "echo"
	}
	for _, w := range texts {
		text := strings.ReplaceAll(w.Text, `\n`, "\n")
		for _, m := range outputLine.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		// A line that begins with a computed text may have any name.
		for line := range strings.SplitSeq(text, "\n") {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "$") || strings.HasPrefix(line, "\x01") || strings.HasPrefix(line, "%") || strings.HasPrefix(line, "`") {
				return names, false
			}
			name, _, found := strings.Cut(line, "=")
			if found && strings.ContainsAny(name, "$\x01%`") {
				return names, false
			}
		}
	}
	return names, true
}

var setOutput = regexp.MustCompile(`::set-output\s+name=([^:,]*)`)

// commandOutput is the name that the old command sets.
func commandOutput(c *shell.Command) (output string, found bool) {
	for _, w := range c.Words {
		if m := setOutput.FindStringSubmatch(w.Text); m != nil {
			if strings.ContainsAny(m[1], "$\x01") {
				return "", true
			}
			return strings.TrimSpace(m[1]), true
		}
	}
	return "", false
}
