package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/actions"
	"github.com/slipway-ci/slipway/pipeline/check"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// action is an action of the source tree, read once, however many steps use it.
type action struct {
	*syntax.Action
	text text
	// file is the name of the metadata file in its directory.
	file string
	// height is the levels of actions below it, itself counted; 0 while it is being followed.
	height int
	// steps and bytes are what it comes to with the actions that it uses written out.
	steps, bytes int
}

// use is an action as one step uses it.
type use struct {
	*action
	// dir is where it lies in the workspace.
	dir string
}

// maxActions bounds the different actions that a run may use, and maxUseFindings what is said of uses: what is wrong once is often wrong everywhere.
const (
	maxActions     = 100
	maxUseFindings = 500
)

// enough is more than any limit; sums stop there.
const enough = 1 << 30

// job follows what the steps of a job use.
func (l *linker) job(f *syntax.File, j *syntax.Job) {
	steps, bytes := l.follows(f, j.Steps, checkoutPaths(j.Steps), nil)
	switch {
	case !slices.ContainsFunc(j.Steps, func(s *syntax.Step) bool { return l.uses[s] != nil }):
	case steps > check.MaxJobSteps:
		l.errorf(f, j.ID, "too-many-steps", "split the job", "the job `%s` has more than %d steps with those of its actions", j.ID.Text, check.MaxJobSteps)
	case bytes > check.MaxActionBytes:
		l.errorf(f, j.ID, "actions-too-large", "put scripts into files beside the action, or split the job",
			"the steps of the job `%s` with those of its actions are longer than %d KiB", j.ID.Text, check.MaxActionBytes>>10)
	}
}

// checkoutPaths are the directories into which a job's steps put the source tree, beside the workspace itself.
func checkoutPaths(steps []*syntax.Step) []string {
	var out []string
	for _, s := range steps {
		if s.Uses == nil || s.With == nil || actions.ParseRef(s.Uses.Text).Name != "actions/checkout" {
			continue
		}
		for _, p := range s.With.Pairs {
			if dir := path.Clean(p.Value.Text); strings.EqualFold(p.Key.Text, "path") && dir != "." && !p.Value.HasExpression() {
				out = append(out, dir)
			}
		}
	}
	return out
}

// follows follows all steps of a list, and returns how many they are and how long their texts, with those of the actions that they use. chain are the
// actions that lead to the list.
func (l *linker) follows(f *syntax.File, list []*syntax.Step, roots, chain []string) (steps, bytes int) {
	for _, s := range list {
		steps, bytes = min(steps+1, enough), min(bytes+stepBytes(s), enough)
		if s.Uses == nil || !check.IsLocalAction(s.Uses.Text) {
			continue
		}
		if u := l.use(f, s, roots, chain); u != nil {
			l.uses[s] = u
			steps, bytes = min(steps+u.steps, enough), min(bytes+u.bytes, enough)
		}
	}
	return steps, bytes
}

func stepBytes(s *syntax.Step) int {
	n := 0
	for _, text := range []*syntax.Scalar{s.Name, s.If, s.Run, s.Uses, s.Shell, s.WorkingDirectory} {
		if text != nil {
			n += len(text.Text)
		}
	}
	for _, m := range []*syntax.Map{s.With, s.Env} {
		if m != nil {
			for _, p := range m.Pairs {
				n += len(p.Key.Text) + len(p.Value.Text)
			}
		}
	}
	return n
}

// use finds the action that a step uses, and follows it; nil if there is none, which was reported.
func (l *linker) use(f *syntax.File, s *syntax.Step, roots, chain []string) *use {
	dir, found := check.ActionDir(f, s)
	if len(found) > 0 || l.useErrors >= maxUseFindings {
		return nil // checking the file has said so, or enough was said
	}
	a, home := l.find(f, s, dir, roots)
	if a == nil {
		return nil
	}
	if i := slices.Index(chain, home); i >= 0 {
		l.useErrorf(f, s, "action-cycle", "take one of the uses out", "these actions use each other for ever: %s", strings.Join(append(slices.Clone(chain[i:]), home), " → "))
		return nil
	}
	if a.height == 0 {
		inner := append(slices.Clone(chain), home)
		a.steps, a.bytes = l.follows(a.File, a.Runs.Steps, roots, inner)
		a.bytes = max(a.bytes, len(a.text.src))
		a.height = 1
		for _, s := range a.Runs.Steps {
			if u := l.uses[s]; u != nil {
				a.height = max(a.height, u.height+1)
			}
		}
	}
	if len(chain)+a.height > check.MaxActionDepth {
		l.useErrorf(f, s, "actions-too-deep", "", "actions use each other more than %d levels deep here", check.MaxActionDepth)
		return nil
	}
	for _, d := range check.Use(f, s, a.Action) {
		if l.useFindings++; l.useFindings <= maxUseFindings || d.Severity == diag.Error {
			l.found = append(l.found, d)
		}
		if d.Severity == diag.Error {
			l.useErrors++
		}
	}
	return &use{a, dir}
}

// find returns the action of a directory, and where in the source tree it lies: there, or below where the tree was checked out.
func (l *linker) find(f *syntax.File, s *syntax.Step, dir string, roots []string) (a *action, home string) {
	homes := []string{dir}
	for _, root := range roots {
		if rest, ok := strings.CutPrefix(dir+"/", root+"/"); ok {
			homes = append(homes, path.Clean(rest))
		}
	}
	for _, home := range homes {
		if l.actions[home] != nil {
			return l.actions[home], home
		}
		a, err := l.loadAction(home)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, errNoTree):
			l.useErrorf(f, s, "no-tree", "run it from its project's directory", "`%s` can't be read here: there is no source tree", s.Uses.Text)
		case errors.Is(err, errTooMany):
			l.useErrorf(f, s, "too-many-actions", "", "a run may use %d different actions, and `%s` is one more", maxActions, s.Uses.Text)
		case err != nil:
			l.useErrorf(f, s, "unreadable-action", "", "`%s` can't be read: %v", s.Uses.Text, err)
		default:
			return a, home
		}
		return nil, ""
	}
	l.useErrorf(f, s, "unknown-action", "actions that other steps make, or fetch from other repositories, can't be used yet",
		"the source tree has no action `%s`: there is no %s in %s", s.Uses.Text, strings.Join(syntax.MetadataFiles, " or "), dir)
	return nil, ""
}

func (l *linker) useErrorf(f *syntax.File, s *syntax.Step, code, hint, format string, args ...any) {
	l.useErrors++
	l.errorf(f, s.Uses, code, hint, format, args...)
}

var (
	errNoTree  = errors.New("there is no source tree")
	errTooMany = errors.New("too many actions")
)

// loadAction reads and checks the action of a directory of the source tree; fs.ErrNotExist if there is none.
func (l *linker) loadAction(home string) (*action, error) {
	if l.opt.Read == nil {
		return nil, errNoTree
	}
	for _, name := range syntax.MetadataFiles {
		file := path.Join(home, name)
		src, err := l.opt.Read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(l.actions) == maxActions {
			return nil, errTooMany
		}
		ast, parsed := syntax.ParseAction(file, src, l.opt.Limits)
		a := &action{Action: ast, text: text{src, parsed}, file: name}
		l.actions[home] = a
		l.actionFiles = append(l.actionFiles, home)
		l.found = append(append(l.found, parsed...), check.Action(ast)...)
		return a, nil
	}
	return nil, fs.ErrNotExist
}

// action compiles a step that uses an action of the repository; nil for one that nothing runs, which is in a draft only.
func (b *builder) action(s *syntax.Step) *planv1.Action {
	u := b.uses[s]
	if u == nil {
		return nil
	}
	sum := sha256.Sum256(u.text.src)
	out := &planv1.Action{Uses: s.Uses.Text, Path: u.dir, With: entries(s.With), File: u.file, Digest: hex.EncodeToString(sum[:])}
	for _, in := range u.Inputs {
		out.Inputs = append(out.Inputs, &planv1.ActionInput{Name: in.Name.Text, Default: value(in.Default)})
	}
	switch u.Runs.Kind {
	case syntax.Composite:
		c := &planv1.Composite{}
		for _, inner := range u.Runs.Steps {
			c.Steps = append(c.Steps, b.step(inner))
		}
		for _, o := range u.Outputs {
			c.Outputs = append(c.Outputs, &planv1.Entry{Name: o.Name.Text, Value: value(o.Value)})
		}
		out.Runs = &planv1.Action_Composite{Composite: c}
	case syntax.Node:
		out.Runs = &planv1.Action_Node{Node: node(&u.Runs)}
	case syntax.Docker, syntax.UnknownKind:
		return nil
	}
	return out
}

func node(r *syntax.Runs) *planv1.Node {
	n := &planv1.Node{Version: r.NodeVersion(), Main: r.Main.Text}
	if r.Post != nil {
		n.Post, n.PostIf = r.Post.Text, check.PostCondition(r.PostIf)
	}
	return n
}
