package syntax

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/pipeline/diag"
)

// Action is an action's metadata: action.yml.
type Action struct {
	// File has the path, and finds places. It holds no jobs.
	File        *File
	Name        *Scalar
	Description *Scalar
	Inputs      []*ActionInput
	Outputs     []*ActionOutput
	Runs        Runs
}

// ActionInput is one input of an action. All are texts.
type ActionInput struct {
	Name                *Scalar
	Default, Deprecated *Scalar
	Required            bool
}

// ActionOutput is one output of an action; Value is that of a composite one.
type ActionOutput struct{ Name, Value *Scalar }

// Kind is how an action runs.
type Kind uint8

// Kinds of actions.
const (
	UnknownKind Kind = iota
	Composite
	Node
	Docker
)

// Runs is `runs:` of an action.
type Runs struct {
	Pos   Pos
	Kind  Kind
	Using *Scalar
	// Steps of a composite action.
	Steps []*Step
	// Of a node action: files beside the metadata.
	Main, Pre, Post *Scalar
	PreIf, PostIf   *Scalar
}

// NodeVersion is the major version of Node.js that a node action is written for.
func (r *Runs) NodeVersion() uint32 {
	m := nodeVersion.FindStringSubmatch(strings.ToLower(r.Using.Text))
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseUint(m[1], 10, 32) //nolint:errcheck // the pattern has two digits there
	return uint32(n)
}

// AsFile is a workflow file with the action's steps as those of its one job, for what looks at steps.
func (a *Action) AsFile() *File {
	f := *a.File
	f.Jobs = []*Job{{ID: &Scalar{Pos: a.Runs.Pos, Text: "action"}, Steps: a.Runs.Steps, HasSteps: true}}
	return &f
}

// MetadataFiles are the names that an action's metadata may have, the first before the second.
var MetadataFiles = []string{"action.yml", "action.yaml"}

var (
	// What these three know beside is ignored, as GitHub does: a warning says so.
	actionKeys       = makeKeys("the action", "name description author branding inputs outputs runs")
	actionInputKeys  = makeKeys("an input of the action", "description required default deprecationMessage")
	actionOutputKeys = makeKeys("an output of the action", "description value")

	runsKeys       = makeKeys("`runs`", "using steps main pre pre-if post post-if image args env entrypoint pre-entrypoint post-entrypoint")
	actionStepKeys = makeKeys("a step of an action", "name id if run uses with env shell working-directory continue-on-error")
)

// runsOf are the keys of `runs` that each kind has beside `using`.
var runsOf = map[Kind][]string{
	Composite: {"steps"},
	Node:      {"main", "pre", "pre-if", "post", "post-if"},
	Docker:    {"image", "args", "env", "entrypoint", "pre-entrypoint", "post-entrypoint", "pre-if", "post-if"},
}

var nodeVersion = regexp.MustCompile(`^node(12|16|20|24)$`)

// ParseAction reads an action's metadata. The Action is never nil; with errors in the list it may lack what they are about.
func ParseAction(path string, src []byte, limits Limits) (*Action, diag.List) {
	f := &File{Path: path, GitHub: InGitHub(path), source: newSource("")}
	r := &reader{file: f, limits: limits.orDefaults(), needs: "an action needs at least `name:` and `runs:`"}
	a := &Action{File: f}
	if root := r.load(src); root != nil {
		r.action(a, root)
	}
	return a, r.found
}

func (r *reader) action(a *Action, root *yaml.Node) {
	hasRuns := false
	r.loose(root, actionKeys, func(key string, v *yaml.Node) {
		switch key {
		case "name":
			a.Name = r.scalar(v, "`name`")
		case "description":
			a.Description = r.scalar(v, "`description`")
		case "inputs":
			r.actionInputs(a, v)
		case "outputs":
			r.actionOutputs(a, v)
		case "runs":
			hasRuns = true
			r.runs(&a.Runs, v)
		}
	})
	if !hasRuns {
		r.report(pos(root), "missing-key", "add `runs: {using: composite, steps: […]}`, say", "the action does not say what it does: `runs` is missing")
	}
}

// loose is mapping for what GitHub reads without minding keys that it does not know.
func (r *reader) loose(n *yaml.Node, k keys, field func(key string, value *yaml.Node)) {
	r.pairs(n, k.what, func(name *Scalar, _, value *yaml.Node) {
		if _, ok := k.state[name.Text]; ok {
			field(name.Text, value)
			return
		}
		r.warn(name.Pos, "unknown-key", diag.DidYouMean(name.Text, k.names), "unknown key `%s` in %s: it has no effect", clip(name.Text), k.what)
	})
}

func (r *reader) actionInputs(a *Action, n *yaml.Node) {
	if shape(resolve(n)) == "empty" {
		return
	}
	r.pairs(n, "`inputs`", func(name *Scalar, _, value *yaml.Node) {
		in := &ActionInput{Name: name}
		a.Inputs = append(a.Inputs, in)
		if shape(resolve(value)) == "empty" {
			return
		}
		r.loose(value, actionInputKeys, func(key string, v *yaml.Node) {
			switch key {
			case "default":
				in.Default = r.scalar(v, "`default`")
			case "deprecationMessage":
				in.Deprecated = r.scalar(v, "`deprecationMessage`")
			case "required":
				// GitHub takes any text here, and requires nothing.
				if s := r.scalar(v, "`required`"); s != nil {
					in.Required = strings.EqualFold(s.Text, "true")
				}
			}
		})
	})
}

func (r *reader) actionOutputs(a *Action, n *yaml.Node) {
	if shape(resolve(n)) == "empty" {
		return
	}
	r.pairs(n, "`outputs`", func(name *Scalar, _, value *yaml.Node) {
		out := &ActionOutput{Name: name}
		a.Outputs = append(a.Outputs, out)
		if shape(resolve(value)) == "empty" {
			return
		}
		r.mapping(value, actionOutputKeys, func(key string, _, v *yaml.Node) {
			if s := r.scalar(v, "`"+key+"`"); key == "value" {
				out.Value = s
			}
		})
	})
}

func (r *reader) runs(out *Runs, n *yaml.Node) {
	out.Pos = pos(n)
	before := len(r.found)
	hasSteps := false
	var given []*Scalar
	r.mapping(n, runsKeys, func(key string, name, v *yaml.Node) {
		given = append(given, &Scalar{Pos: pos(name), Text: key})
		what := "`" + key + "`"
		switch key {
		case "using":
			out.Using = r.literal(v, what)
		case "steps":
			hasSteps = true
			out.Steps = r.stepList(v, actionStepKeys, "the action")
		case "main":
			out.Main = r.literal(v, what)
		case "pre":
			out.Pre = r.literal(v, what)
		case "post":
			out.Post = r.literal(v, what)
		case "pre-if":
			out.PreIf = r.scalar(v, what)
		case "post-if":
			out.PostIf = r.scalar(v, what)
		}
	})
	if len(r.found) > before && out.Using == nil {
		return
	}
	r.runsKind(out, given, hasSteps)
}

// runsKind finds out what kind of action it is, and whether the keys are that kind's.
func (r *reader) runsKind(out *Runs, given []*Scalar, hasSteps bool) {
	if out.Using == nil {
		r.report(out.Pos, "missing-key", "add `using: composite`, or node20, node24", "the action does not say how it runs: `using` is missing")
		return
	}
	using := strings.ToLower(out.Using.Text)
	switch {
	case using == "composite":
		out.Kind = Composite
	case nodeVersion.MatchString(using):
		out.Kind = Node
	case using == "docker":
		out.Kind = Docker
	default:
		known := []string{"composite", "node12", "node16", "node20", "node24", "docker"}
		hint := diag.DidYouMean(using, known)
		if hint == "" {
			hint = "known are " + strings.Join(known, ", ")
		}
		r.report(out.Using.Pos, "bad-value", hint, "`%s` is no kind of action", clip(out.Using.Text))
		return
	}
	for _, k := range given {
		if k.Text != "using" && !slices.Contains(runsOf[out.Kind], k.Text) {
			r.report(k.Pos, "unknown-key", "its keys: using, "+strings.Join(runsOf[out.Kind], ", "), "`%s` is not a key of `runs` of a %s action", k.Text, using)
		}
	}
	if out.Kind == Composite && !hasSteps {
		r.report(out.Pos, "missing-key", "", "the action has nothing to do: `steps` is missing")
	}
	if out.Kind == Node && out.Main == nil {
		r.report(out.Pos, "missing-key", "", "the action does not say which file runs: `main` is missing")
	}
	if out.Kind != Composite {
		return
	}
	for _, s := range out.Steps {
		if s.Run != nil && s.Shell == nil {
			r.report(s.Pos, "missing-key", "add `shell: bash`, say: a job's `defaults` do not enter an action", "a step of an action with `run` needs a `shell`")
		}
	}
}
