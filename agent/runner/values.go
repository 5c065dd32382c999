package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/state"
)

// values is what steps made and what may be secret. It lies in the private directory on a tmpfs, one file for each step,
// so that writing is as cheap in a job's hundredth step as in its first, and writing one again changes nothing.
type values struct {
	base  base
	steps map[uint32]*stepValues
	// Of all steps so far, in order.
	masks []string
	env   []commands.Pair
	paths []string
	// podPath is the image's PATH, once it was asked for.
	podPath string
	outputs []commands.Pair
}

// base is known when the job begins.
type base struct {
	Token string `json:"token"`
	// Env is the workflow's and the job's, evaluated.
	Env []commands.Pair `json:"env,omitempty"`
	// Ready: Env was evaluated.
	Ready bool `json:"ready,omitempty"`
}

// stepValues is what one step left for later ones.
type stepValues struct {
	Masks   []string        `json:"masks,omitempty"`
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
	if t.p.Phase == state.PhaseDone {
		if err := t.dirs.ReadPrivate(outputsFile, &t.values.outputs); err != nil {
			return err
		}
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

func (v *stepValues) empty() bool {
	return len(v.Masks) == 0 && len(v.Env) == 0 && len(v.Path) == 0 && len(v.Outputs) == 0 && len(v.State) == 0 && v.Summary == ""
}

func (vs *values) take(n uint32, v *stepValues) {
	if vs.steps == nil {
		vs.steps = map[uint32]*stepValues{}
	}
	vs.steps[n] = v
	vs.masks = append(vs.masks, v.Masks...)
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

// hidden says whether text holds something that is masked.
func (vs *values) hidden(text string) bool {
	return slices.ContainsFunc(vs.masks, func(m string) bool { return strings.Contains(text, m) })
}
