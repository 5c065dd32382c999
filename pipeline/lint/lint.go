// Package lint finds what GitHub's language allows and what is wrong all the same: a stranger's text in a script, a secret
// in the log, an output that nobody sets. Every finding is a warning that a comment can silence, with a reason; see Allow.
//
// A lint speaks only of what the file shows. Where a script calls another program, an action is not known, or an expression
// decides, it assumes that all is well: a false warning costs more than a missed one.
package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/actions"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/lint/shell"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// Codes of the findings, each with what it is about.
var Codes = map[string]string{
	ScriptInjection:    "a text that strangers can write becomes part of a program",
	SecretPrinted:      "a secret goes to the log or the summary",
	UnsetOutput:        "an output is used that nothing sets",
	NoCredentials:      "a cloud or cluster is called without credentials",
	IDTokenNotGranted:  "an OpenID Connect token is needed, and `id-token: write` is not granted",
	NotPermitted:       "the named permissions leave out one that a step needs",
	PushStartsItself:   "a push starts the workflow that makes it",
	ImageNotBuilt:      "an image is scanned that nothing before has built",
	RebuiltAfterScan:   "an image is built again after its scan, so what is pushed is not what was scanned",
	UnpinnedAction:     "an action is named by a tag or branch, which can be moved",
	UntrustedCheckout:  "code of a pull request runs with the secrets of the repository",
	GateIgnored:        "the failure of a check changes nothing",
	ConstantCacheKey:   "a cache's key never changes, so the cache is never written again",
	DeprecatedCommand:  "a workflow command that is no longer to be used, or no longer works",
	BadAllow:           "a comment that should silence a finding, and can't",
	UnusedAllow:        "a comment that silences nothing",
	DoesNothing:        "a step is named after something that it does not do",
	ScanWithoutVerdict: "a scan neither fails the job nor is its report kept",
}

// The codes.
const (
	ScriptInjection    = "script-injection"
	SecretPrinted      = "secret-printed"
	UnsetOutput        = "unset-output"
	NoCredentials      = "no-credentials"
	IDTokenNotGranted  = "id-token-not-granted"
	NotPermitted       = "not-permitted"
	PushStartsItself   = "push-starts-itself"
	ImageNotBuilt      = "image-not-built"
	RebuiltAfterScan   = "rebuilt-after-scan"
	UnpinnedAction     = "unpinned-action"
	UntrustedCheckout  = "untrusted-checkout"
	GateIgnored        = "gate-ignored"
	ConstantCacheKey   = "constant-cache-key"
	DeprecatedCommand  = "deprecated-command"
	BadAllow           = "bad-allow"
	UnusedAllow        = "unused-allow"
	DoesNothing        = "does-nothing"
	ScanWithoutVerdict = "scan-without-verdict"
)

// maxScripts bounds the scripts that are looked at, in bytes; only aliases can make more of a file than its size.
const maxScripts = 4 << 20

// maxFindings bounds the list of a file that has the same defect everywhere.
const maxFindings = 200

// Lint returns every finding about f, which may lack what its own findings are about.
//
// callee returns the workflow that a job of f calls, and action the one of the repository that a step uses, nil where it is not known; they may be nil
// themselves.
func Lint(f *syntax.File, callee func(*syntax.Job) *syntax.File, action func(*syntax.Step) *syntax.Action) diag.List {
	l := newLinter(f)
	l.callee, l.action = callee, action
	for _, j := range l.jobs {
		for _, s := range j.steps {
			l.injection(s)
			l.secrets(s)
			l.outputsUsed(s)
			l.idToken(s)
			l.permitted(s)
			l.pin(s)
			l.untrustedCheckout(s)
			l.gate(s)
			l.cacheKey(s)
			l.deprecated(s)
			l.doesNothing(s)
		}
		l.outputsOfJob(j)
		l.credentials(j)
		l.scanVerdicts(j)
		l.rebuilt(j)
	}
	l.pushes()
	l.images()
	return l.found
}

// Action returns every finding about the steps of an action, given as the one job of a file. What the job that uses the action has done before, or may
// do, is not known, so that no lint speaks of it.
func Action(f *syntax.File, action func(*syntax.Step) *syntax.Action) diag.List {
	l := newLinter(f)
	l.action = action
	for _, j := range l.jobs {
		for _, s := range j.steps {
			l.injection(s)
			l.secrets(s)
			l.outputsUsed(s)
			l.pin(s)
			l.cacheKey(s)
			l.deprecated(s)
			l.doesNothing(s)
		}
	}
	return l.found
}

type linter struct {
	file  *syntax.File
	found diag.List
	jobs  []*job
	byID  map[string]*job
	// callee may be nil.
	callee func(*syntax.Job) *syntax.File
	// action may be nil.
	action func(*syntax.Step) *syntax.Action
	// uses and envs remember what was worked out of a scalar or mapping.
	uses map[*syntax.Scalar][]use
	envs map[*syntax.Map]map[string]*syntax.Scalar
	// builtElsewhere are the images that any job builds.
	builtElsewhere map[string]bool
}

type job struct {
	ast   *syntax.Job
	steps []*step
	ids   map[string]*step
	// outcomes are the ids of steps whose outcome somebody asks for; nil until needed.
	outcomes map[string]bool
	// gateSaid: that the job's own continue-on-error throws a check's failure away.
	gateSaid bool
}

type step struct {
	ast *syntax.Step
	job *job
	// script is what `run` calls; nil for actions and for other languages than shell.
	script *shell.Script
	// ref is the action; lore what is known of it, if isKnown.
	ref     actions.Ref
	lore    actions.Known
	isKnown bool
}

func newLinter(f *syntax.File) *linter {
	l := &linter{file: f, byID: map[string]*job{}, uses: map[*syntax.Scalar][]use{}, envs: map[*syntax.Map]map[string]*syntax.Scalar{},
		builtElsewhere: map[string]bool{}}
	// A script that an alias repeats is read once, and steps are left out when they repeat too much.
	scripts := map[syntax.Pos]*shell.Script{}
	size := 0
	for _, ast := range f.Jobs {
		j := &job{ast: ast, ids: map[string]*step{}}
		l.jobs = append(l.jobs, j)
		l.byID[strings.ToLower(ast.ID.Text)] = j
		for _, as := range ast.Steps {
			s := &step{ast: as, job: j}
			if as.Run != nil {
				if size += len(as.Run.Text); size > maxScripts {
					continue
				}
			}
			switch {
			case as.Uses != nil:
				s.ref = actions.ParseRef(as.Uses.Text)
				s.lore, s.isKnown = s.ref.Lore()
			case as.Run != nil && l.isShell(s):
				if scripts[as.Run.Pos] == nil {
					scripts[as.Run.Pos] = shell.Read(as.Run.Text)
				}
				s.script = scripts[as.Run.Pos]
			}
			j.steps = append(j.steps, s)
			if as.ID != nil {
				j.ids[strings.ToLower(as.ID.Text)] = s
			}
		}
	}
	return l
}

// isShell reports whether a shell reads the step's script.
func (l *linter) isShell(s *step) bool {
	var defaults []*syntax.Scalar
	for _, d := range []*syntax.Defaults{s.job.ast.Defaults, l.file.Defaults} {
		if d != nil {
			defaults = append(defaults, d.Shell)
		}
	}
	for _, name := range append([]*syntax.Scalar{s.ast.Shell}, defaults...) {
		if name != nil {
			first, _, _ := strings.Cut(strings.TrimSpace(name.Text), " ")
			return slices.Contains([]string{"bash", "sh", "dash", "zsh", "/bin/bash", "/bin/sh"}, first)
		}
	}
	return !slices.ContainsFunc(s.job.ast.RunsOn, func(r *syntax.Scalar) bool { return strings.Contains(strings.ToLower(r.Text), "windows") })
}

func (l *linter) warn(at syntax.Pos, code, hint, format string, args ...any) {
	if len(l.found) >= maxFindings {
		return
	}
	l.found = append(l.found, diag.Diagnostic{
		Path: l.file.Path, Line: at.Line, Column: at.Column, Severity: diag.Warning,
		Code: code, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// full: nothing more is reported, so places need not be looked for.
func (l *linter) full() bool { return len(l.found) >= maxFindings }

// place of a byte of a text.
func (l *linter) place(s *syntax.Scalar, offset int) syntax.Pos { return l.file.Place(s, offset) }

// use is one reference that can become part of a text, at a byte of it.
type use struct {
	expr.Flow
	offset int
	// begin is where its ${{ begins.
	begin int
}

// flows are the references that become part of s.
func (l *linter) flows(s *syntax.Scalar) []use {
	if s == nil {
		return nil
	}
	if known, ok := l.uses[s]; ok {
		return known
	}
	var out []use
	parts, err := expr.Split(s.Text)
	if err != nil {
		parts = nil // check has said so
	}
	for _, p := range parts {
		if !p.Expr {
			continue
		}
		e, err := expr.Parse(p.Text)
		if err != nil {
			continue
		}
		for _, f := range e.Flows() {
			out = append(out, use{f, p.Offset + f.Offset, p.Offset})
		}
	}
	l.uses[s] = out
	return out
}

// references are all references in a text; what: in a condition, the text may stand without ${{ }}.
func references(s *syntax.Scalar, condition bool) []use {
	if s == nil || !condition && !s.HasExpression() {
		return nil
	}
	parts := []expr.Part{{Text: s.Text, Expr: true}}
	if s.HasExpression() {
		var err error
		if parts, err = expr.Split(s.Text); err != nil {
			return nil
		}
	}
	var out []use
	for _, p := range parts {
		if !p.Expr {
			continue
		}
		if e, err := expr.Parse(p.Text); err == nil {
			for _, r := range e.References() {
				out = append(out, use{expr.Flow{Reference: r}, p.Offset + r.Offset, p.Offset})
			}
		}
	}
	return out
}

// env is what a variable is set to where a step runs: the step's own, its job's or the workflow's. nil if not at all.
func (l *linter) env(s *step, name string) *syntax.Scalar {
	var own *syntax.Map
	if s.ast != nil {
		own = s.ast.Env
	}
	for _, m := range []*syntax.Map{own, s.job.ast.Env, l.file.Env} {
		if v := l.index(m)[name]; v != nil {
			return v
		}
	}
	return nil
}

// envNames are the names of all variables that a step gets, sorted.
func (l *linter) envNames(s *step) []string {
	names := map[string]bool{}
	for _, m := range []*syntax.Map{s.ast.Env, s.job.ast.Env, l.file.Env} {
		for name := range l.index(m) {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (l *linter) index(m *syntax.Map) map[string]*syntax.Scalar {
	if m == nil {
		return nil
	}
	if known, ok := l.envs[m]; ok {
		return known
	}
	out := make(map[string]*syntax.Scalar, len(m.Pairs))
	for _, p := range m.Pairs {
		out[p.Key.Text] = p.Value
	}
	l.envs[m] = out
	return out
}

// with is the value of an input of a step, nil without it.
func (s *step) with(name string) *syntax.Scalar {
	if s.ast.With == nil || name == "" {
		return nil
	}
	for _, p := range s.ast.With.Pairs {
		if strings.EqualFold(p.Key.Text, name) {
			return p.Value
		}
	}
	return nil
}

// given reports whether a step gives an input a value that is not empty.
func (s *step) given(name string) bool {
	v := s.with(name)
	return v != nil && strings.TrimSpace(v.Text) != ""
}

// maxChain bounds how far a value is followed through `env`, which three levels of it can nest.
const maxChain = 3

// source follows ${{ env.NAME }} to what the variable is set to, and calls each for what is found at the end.
func (l *linter) source(s *step, u use, depth int, each func(expr.Flow) bool) bool {
	if u.Context == "env" && len(u.Path) > 0 && depth < maxChain {
		if v := l.env(s, u.Path[0]); v != nil {
			return slices.ContainsFunc(l.flows(v), func(inner use) bool { return l.source(s, inner, depth+1, each) })
		}
	}
	return each(u.Flow)
}

// reaches reports whether a reference names the path, or with whole something that holds it; an index counts as *.
func reaches(f expr.Flow, path []string) bool {
	if len(f.Path) > len(path) || len(f.Path) < len(path) && !f.Whole {
		return false
	}
	for i, p := range f.Path {
		if p != "*" && path[i] != "*" && !strings.EqualFold(p, path[i]) {
			return false
		}
	}
	return true
}

// name of a reference as people write it.
func name(f expr.Flow) string {
	return strings.Join(append([]string{f.Context}, f.Path...), ".")
}
