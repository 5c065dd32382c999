package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/pipeline/resolve"
)

// values is what steps made and what may be secret. It lies in the private directory on a tmpfs, one file for each step,
// so that writing is as cheap in a job's hundredth step as in its first, and writing one again changes nothing.
type values struct {
	base  base
	steps map[uint32]*stepValues
	// Of all steps so far, in order; hide has the same values.
	masks []string
	hide  *logs.Masks
	env   []commands.Pair
	paths []string
	// size in bytes of what the steps handed on.
	size int
	// podPaths are the PATHs of images, once they were asked for: the job's under "".
	podPaths map[string]string
	outputs  []commands.Pair
}

// base is known when the job begins.
type base struct {
	Token string `json:"token"`
	// Env is the workflow's and the job's, evaluated.
	Env []commands.Pair `json:"-"`
	// Ready: Env was evaluated.
	Ready bool `json:"-"`
}

// stepValues is what one step left for later ones.
type stepValues struct {
	// Masks are the values of ::add-mask::. They are bytes: JSON would change what is not UTF-8, and the next process would
	// not find it in the log.
	Masks   [][]byte        `json:"masks,omitempty"`
	Env     []commands.Pair `json:"env,omitempty"`
	Path    []string        `json:"path,omitempty"`
	Outputs []commands.Pair `json:"outputs,omitempty"`
	// State reaches only the post step of the same action.
	State   []commands.Pair `json:"state,omitempty"`
	Summary string          `json:"summary,omitempty"`
}

const outputsFile = "outputs.json"

func stepFile(n uint32) string { return fmt.Sprintf("step-%d.json", n) }
func specFile(n uint32) string { return fmt.Sprintf("spec-%d.json", n) }

func (t *Attempt) writeBase() error { return t.dirs.WritePrivate("base.json", t.values.base) }

// loadValues reads what an earlier process kept.
func (t *Attempt) loadValues() error {
	if err := t.dirs.ReadPrivate("base.json", &t.values.base); err != nil {
		return err
	}
	for _, s := range t.p.Steps {
		v := &stepValues{}
		err := t.dirs.ReadPrivate(stepFile(s.Number), v)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		// The running step's file, if there is one, was written just before the end; it will be written again.
		if s.Outcome != 0 {
			t.values.take(s.Number, v)
		}
	}
	if err := t.loadFrames(); err != nil {
		return err
	}
	if t.p.Phase == state.PhaseDone {
		return t.dirs.ReadPrivate(outputsFile, &t.values.outputs)
	}
	return nil
}

// keep writes and applies what a step left.
func (t *Attempt) keep(n uint32, v *stepValues) error {
	if !v.empty() {
		if err := t.dirs.WritePrivate(stepFile(n), v); err != nil {
			return err
		}
	}
	t.values.take(n, v)
	return nil
}

// maxKept bounds in bytes what all steps of a job hand on: it lies in memory, here and on the tmpfs.
const maxKept = 64 << 20

func (v *stepValues) size() int {
	n := len(v.Summary)
	for _, list := range [][]commands.Pair{v.Env, v.Outputs, v.State} {
		for _, p := range list {
			n += len(p.Name) + len(p.Value)
		}
	}
	for _, p := range v.Path {
		n += len(p)
	}
	return n
}

func (v *stepValues) empty() bool {
	return len(v.Masks) == 0 && len(v.Env) == 0 && len(v.Path) == 0 && len(v.Outputs) == 0 && len(v.State) == 0 && v.Summary == ""
}

func (vs *values) take(n uint32, v *stepValues) {
	if vs.steps == nil {
		vs.steps = map[uint32]*stepValues{}
	}
	vs.steps[n] = v
	vs.size += v.size()
	for _, m := range v.Masks {
		vs.masks = append(vs.masks, string(m))
	}
	vs.hide = vs.hide.With(vs.masks[len(vs.masks)-len(v.Masks):]...)
	vs.env = commands.Merge(vs.env, v.Env...)
	// Latest first.
	for _, p := range v.Path {
		vs.paths = slices.Insert(slices.DeleteFunc(vs.paths, func(x string) bool { return x == p }), 0, p)
	}
}

// pairsOf turns evaluated entries into pairs.
func pairsOf(entries []resolve.Pair) []commands.Pair {
	out := make([]commands.Pair, len(entries))
	for i, p := range entries {
		out[i] = commands.Pair(p)
	}
	return out
}

// Bounds of texts in a report, in bytes. All of an attempt go in one message.
const (
	maxName    = 500
	maxMessage = 4 << 10
)

// masksAt is the set of the first n values: those that were known when a step began.
func (vs *values) masksAt(n int) *logs.Masks {
	if n >= len(vs.masks) {
		return vs.hide
	}
	return logs.NewMasks(vs.masks[:n]...)
}

// public is a text as a report may hold it: masked, valid UTF-8, at most so many bytes.
func (vs *values) public(text string, most int) string {
	text = strings.ToValidUTF8(vs.hide.Hide(text), "\uFFFD")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
