package compile

import (
	"slices"

	"github.com/slipway-ci/slipway/pipeline/check"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/lint"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// text is a file's bytes and what reading them found.
type text struct {
	src    []byte
	parsed diag.List
}

// lintAll adds what the lints find in a file and in those that it calls, and takes out the warnings that a comment of the same file allows.
func lintAll(f *syntax.File, t text, l *linker, found diag.List) diag.List {
	of := map[string]diag.List{}
	known := map[string]bool{}
	for _, home := range l.actionFiles {
		known[l.actions[home].File.Path] = true
	}
	for _, d := range found {
		if l.files[d.Path] == nil && !known[d.Path] {
			d.Path = f.Path
		}
		of[d.Path] = append(of[d.Path], d)
	}
	out := l.lints(f, t, of[f.Path])
	for _, path := range l.order {
		out = append(out, l.lints(l.files[path], l.texts[path], of[path])...)
	}
	for _, home := range l.actionFiles {
		a := l.actions[home]
		out = append(out, l.lintAction(a, of[a.File.Path])...)
	}
	return out
}

// lints does so for one file. One that could not be read whole is not linted: what is missing in it would look like a defect.
func (l *linker) lints(f *syntax.File, t text, found diag.List) diag.List {
	if t.parsed.Invalid() {
		return found
	}
	return lint.Allow(f, t.src, slices.Concat(found, lint.Lint(f, func(j *syntax.Job) *syntax.File {
		path, _ := check.CalleePath(f, j)
		if l.texts[path].parsed.Invalid() {
			return nil // what is missing in it may be what could not be read
		}
		return l.files[path]
	}, l.actionOf)))
}

// actionOf is the action that a step uses, nil if it could not be read whole.
func (l *linker) actionOf(s *syntax.Step) *syntax.Action {
	u := l.uses[s]
	if u == nil || u.text.parsed.Invalid() {
		return nil
	}
	return u.Action
}

// lintAction does so for an action's metadata.
func (l *linker) lintAction(a *action, found diag.List) diag.List {
	if a.text.parsed.Invalid() {
		return found
	}
	f := a.AsFile()
	return lint.Allow(f, a.text.src, slices.Concat(found, lint.Action(f, l.actionOf)))
}
