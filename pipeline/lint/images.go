package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/lint/shell"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// made is what steps before know of images.
type made struct {
	// refs of images that are built, with the step that did; pushed are those that leave the host.
	refs   map[string]*step
	pushed map[string]bool
	// unknown: something before may have built or fetched any image.
	unknown bool
	builds  bool
}

// scan is one image that is looked at.
type scan struct {
	ref string
	// text and offset are where it is named.
	text   *syntax.Scalar
	offset int
}

// maxVisits bounds the search through the jobs before each job that scans.
const maxVisits = 1 << 20

// images warns where an image is scanned that can't be there.
func (l *linter) images() {
	all := make(map[*job]*made, len(l.jobs))
	scans := map[*step][]scan{}
	for _, j := range l.jobs {
		m := newMade()
		for _, s := range j.steps {
			l.makes(s, m)
			if found := l.scansOf(s); len(found) > 0 {
				scans[s] = found
			}
		}
		all[j] = m
		for ref := range m.refs {
			l.builtElsewhere[ref] = true
		}
	}
	visits := 0
	for _, j := range l.jobs {
		var before []*job
		here := newMade()
		for _, s := range j.steps {
			l.makes(s, here)
			if len(scans[s]) > 0 && before == nil {
				before = append([]*job{}, l.before(j, &visits)...)
			}
			for _, found := range scans[s] {
				if visits += len(before); l.full() || visits > maxVisits {
					return
				}
				l.scanned(found, here, append(before[:len(before):len(before)], j), all)
			}
		}
	}
}

// before are the jobs that end before j begins.
func (l *linter) before(j *job, visits *int) []*job {
	seen := map[*job]bool{j: true}
	queue := []*job{j}
	for at := 0; at < len(queue); at++ {
		for _, n := range queue[at].ast.Needs {
			*visits++
			if next := l.byID[strings.ToLower(n.Text)]; next != nil && !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return queue[1:]
}

// scanned judges one scan. before are the jobs that have ended, and last the one that the scan is in.
func (l *linter) scanned(s scan, here *made, before []*job, all map[*job]*made) {
	if here.unknown || here.refs[s.ref] != nil || opaqueRef(s.ref) {
		return
	}
	earlier := map[*job]bool{before[len(before)-1]: true}
	notPushed := ""
	for _, b := range before[:len(before)-1] {
		m := all[b]
		earlier[b] = true
		if m.unknown || !b.ast.HasSteps || m.pushed[s.ref] {
			return
		}
		for ref := range m.refs {
			if opaqueRef(ref) {
				return
			}
		}
		if m.refs[s.ref] != nil {
			notPushed = b.ast.ID.Text
		}
	}
	for ref := range here.refs {
		if opaqueRef(ref) {
			return
		}
	}
	if notPushed == "" && !fresh(s.ref) && !l.builtElsewhere[s.ref] {
		return // it may be in a registry for long
	}
	shown := "`" + clip(s.ref) + "`"
	if notPushed != "" {
		l.warn(l.place(s.text, s.offset), ImageNotBuilt, "push it there, or scan it in the job that builds it",
			"%s is scanned here, and the job `%s` that builds it does not push it: each job has a host of its own", shown, notPushed)
		return
	}
	builder, same := "", false
	for _, other := range l.jobs {
		if earlier[other] {
			continue
		}
		if all[other].refs[s.ref] != nil {
			builder, same = other.ast.ID.Text, true
			break
		}
		if builder == "" && all[other].builds {
			builder = other.ast.ID.Text
		}
	}
	reason, hint := "", "build it before, or scan one that exists"
	switch {
	case same:
		reason, hint = ": the job `"+builder+"` does, and this job does not need it", "add `"+builder+"` to the `needs` of this job, or scan the image where it is built"
	case builder != "":
		reason, hint = ": images are built in the job `"+builder+"`, which does not run before this one", "scan the image where it is built, before it is pushed"
	}
	l.warn(l.place(s.text, s.offset), ImageNotBuilt, hint, "%s is scanned here, and nothing before builds it%s", shown, reason)
}

// fresh: the name holds something of this run, so that no earlier one can have made the image.
func fresh(ref string) bool {
	for _, part := range []string{"github.sha", "github.run_id", "github.run_number", "github.event.pull_request.head.sha"} {
		if strings.Contains(ref, part) {
			return true
		}
	}
	return false
}

// opaqueRef: which image it is depends on what is not known here.
func opaqueRef(ref string) bool {
	return strings.Contains(ref, "$") && strings.Contains(expandedRest(ref), "$") || strings.Contains(ref, "needs.") || strings.Contains(ref, "inputs.") ||
		strings.Contains(ref, "matrix.") || strings.Contains(ref, "vars.") || strings.Contains(ref, ".outputs.") || strings.Contains(ref, "`") || ref == ""
}

// expandedRest is the text without its ${{ }}.
func expandedRest(ref string) string { return fill(ref) }

// scansOf lists the images that a step examines.
func (l *linter) scansOf(s *step) []scan {
	var out []scan
	for _, input := range s.lore.Scans {
		v := s.with(input)
		kind := s.with("scan-type")
		if v == nil || strings.TrimSpace(v.Text) == "" || kind != nil && kind.Text != "image" {
			continue
		}
		if strings.Contains(v.Text, ":") || v.HasExpression() {
			out = append(out, scan{ref: l.canonical(s, strings.TrimSpace(v.Text), nil, 0), text: v, offset: 0})
		}
	}
	if s.script == nil {
		return out
	}
	locals := map[string]string{}
	for i := range s.script.Commands {
		c := &s.script.Commands[i]
		l.remember(s, c, locals)
		if image, ok := scannedImage(c); ok {
			out = append(out, scan{ref: l.canonical(s, l.raw(s, image), locals, 0), text: s.ast.Run, offset: c.Start})
		}
	}
	return out
}

// raw is a word with the expressions that the reader masked.
func (l *linter) raw(s *step, w shell.Word) string {
	return strings.NewReplacer(`"`, "", `'`, "").Replace(unquoteOutside(s.ast.Run.Text[w.Start:w.End]))
}

// unquoteOutside keeps the quotes inside of ${{ }}, by taking out only a pair around all of the word.
func unquoteOutside(text string) string {
	if len(text) > 1 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		return text[1 : len(text)-1]
	}
	return text
}

func (l *linter) remember(s *step, c *shell.Command, locals map[string]string) {
	words := c.Assign
	if n := c.Name(); n == "export" || n == "local" || n == "readonly" {
		words = c.Words[1:]
	}
	for _, a := range words {
		if name, value, ok := strings.Cut(l.raw(s, a), "="); ok {
			locals[name] = l.canonical(s, value, locals, 1)
		}
	}
}

// scannedImage is the image that a scanner's command names: its last argument.
func scannedImage(c *shell.Command) (shell.Word, bool) {
	args := c.Args()
	sub := subcommand(args)
	scans := false
	switch c.Name() {
	case "trivy":
		scans = sub == "image" || sub == "i"
	case "grype", "syft":
		scans = !slices.Contains([]string{"db", "version", "help", "completion", "config", "login"}, sub)
	case "snyk":
		scans = sub == "container"
	case "docker":
		scans = sub == "scout"
	}
	if !scans || len(args) == 0 || slices.Contains(args, "--input") {
		return shell.Word{}, false
	}
	last := c.Words[len(c.Words)-1]
	isPath := strings.HasPrefix(last.Text, "dir:") || strings.HasPrefix(last.Text, "sbom:") || strings.HasPrefix(last.Text, "file:") ||
		strings.HasPrefix(last.Text, ".") || strings.HasPrefix(last.Text, "/") || strings.HasPrefix(last.Text, "-")
	return last, !isPath && strings.Contains(last.Text, ":") || last.Dynamic && !isPath
}

// maxRef bounds the length of a name with everything put in.
const maxRef = 2048

var runVariables = map[string]string{"GITHUB_SHA": "${{ github.sha }}", "GITHUB_RUN_ID": "${{ github.run_id }}", "GITHUB_RUN_NUMBER": "${{ github.run_number }}",
	"GITHUB_REPOSITORY": "${{ github.repository }}", "GITHUB_REF_NAME": "${{ github.ref_name }}"}

// canonical is a text with everything put in that the file says: variables, ${{ env.NAME }}.
func (l *linter) canonical(s *step, text string, locals map[string]string, depth int) string {
	if depth > maxChain || len(text) > maxRef {
		return text
	}
	parts, err := expr.Split(text)
	if err != nil {
		return text
	}
	var b strings.Builder
	for _, p := range parts {
		if b.Len() > maxRef {
			break
		}
		if !p.Expr {
			l.variables(&b, s, p.Text, locals, depth)
			continue
		}
		source := strings.TrimSpace(p.Text)
		if name, ok := strings.CutPrefix(source, "env."); ok {
			if v := l.env(s, name); v != nil {
				b.WriteString(l.canonical(s, v.Text, locals, depth+1))
				continue
			}
		}
		b.WriteString("${{ " + source + " }}")
	}
	return b.String()
}

func (l *linter) variables(b *strings.Builder, s *step, text string, locals map[string]string, depth int) {
	for text != "" && b.Len() <= maxRef {
		begin, rest, found := strings.Cut(text, "$")
		b.WriteString(begin)
		if !found {
			return
		}
		var name, after string
		if inner, ok := strings.CutPrefix(rest, "{"); ok {
			if name, after, ok = strings.Cut(inner, "}"); !ok {
				b.WriteString("$" + rest)
				return
			}
		} else {
			end := 0
			for end < len(rest) && (rest[end] == '_' || rest[end] >= '0' && rest[end] <= '9' || rest[end] >= 'A' && rest[end] <= 'Z' || rest[end] >= 'a' && rest[end] <= 'z') {
				end++
			}
			name, after = rest[:end], rest[end:]
		}
		switch value, ok := locals[name]; {
		case ok:
			b.WriteString(value)
		case runVariables[name] != "":
			b.WriteString(runVariables[name])
		case l.env(s, name) != nil && name != "":
			b.WriteString(l.canonical(s, l.env(s, name).Text, locals, depth+1))
		default:
			b.WriteString("$" + name)
		}
		text = after
	}
}
