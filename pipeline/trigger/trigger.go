// Package trigger decides whether an event starts a workflow: its `on:`, with the filters on branches, tags, paths and
// activity types.
package trigger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// Event is what happened.
type Event struct {
	// Name: push, pull_request, workflow_dispatch …
	Name string
	// Ref that was pushed: refs/heads/…, refs/tags/….
	Ref string
	// BaseRef is the branch that a pull request wants to go into, with or without refs/heads/. If it is "", not known, filters on branches hold.
	BaseRef string
	// Action is the activity type: opened, synchronize …; "" counts as one that starts by default.
	Action string
	// Files that changed. If they are not known, filters on paths hold, as GitHub has it for what it can't tell.
	Files      []string
	FilesKnown bool
}

// Verdict says whether the workflow starts, and why it does not.
type Verdict struct {
	Starts bool
	Reason string
}

// defaultTypes start a pull request's workflow when `types` is not given.
var defaultTypes = []string{"opened", "synchronize", "reopened"}

// Starts reads a workflow file and asks whether ev starts it. The list holds what is wrong with the file's form.
func Starts(path string, src []byte, ev Event, limits syntax.Limits) (Verdict, diag.List) {
	f, found := syntax.Parse(path, src, limits)
	if found.HasErrors() {
		return Verdict{Reason: "the workflow has errors"}, found.Sort()
	}
	return Match(f, ev), found
}

// Match asks whether ev starts the workflow.
func Match(f *syntax.File, ev Event) Verdict {
	verdict := Verdict{Reason: fmt.Sprintf("its `on` does not name %s", ev.Name)}
	for _, e := range f.On {
		if e.Name.Text != ev.Name {
			continue
		}
		if reason := refuses(e, ev); reason != "" {
			return Verdict{Reason: reason}
		}
		return Verdict{Starts: true}
	}
	return verdict
}

// refuses returns why the filters of e keep ev out, or "".
func refuses(e *syntax.Event, ev Event) string {
	switch ev.Name {
	case "push":
		return refusesPush(e, ev)
	case "pull_request", "pull_request_target":
		types := defaultTypes
		if e.HasTypes {
			types = texts(e.Types)
		}
		if ev.Action != "" && !slices.Contains(types, ev.Action) {
			return fmt.Sprintf("its `types` do not name %s", ev.Action)
		}
		if ev.BaseRef == "" {
			return refusesPaths(e, ev)
		}
		if reason := refusesName("branches", strings.TrimPrefix(ev.BaseRef, "refs/heads/"), e.HasBranches, e.Branches, e.HasBranchesIgnore, e.BranchesIgnore); reason != "" {
			return reason
		}
		return refusesPaths(e, ev)
	}
	return ""
}

func refusesPush(e *syntax.Event, ev Event) string {
	onBranches, onTags := e.HasBranches || e.HasBranchesIgnore, e.HasTags || e.HasTagsIgnore
	if tag, isTag := strings.CutPrefix(ev.Ref, "refs/tags/"); isTag {
		if !onTags && onBranches {
			return "it runs on pushes of branches only"
		}
		return refusesName("tags", tag, e.HasTags, e.Tags, e.HasTagsIgnore, e.TagsIgnore)
	}
	if !onBranches && onTags {
		return "it runs on pushes of tags only"
	}
	branch := strings.TrimPrefix(ev.Ref, "refs/heads/")
	if reason := refusesName("branches", branch, e.HasBranches, e.Branches, e.HasBranchesIgnore, e.BranchesIgnore); reason != "" {
		return reason
	}
	return refusesPaths(e, ev)
}

func refusesName(what, name string, has bool, only []*syntax.Scalar, hasIgnore bool, ignore []*syntax.Scalar) string {
	if has && !matches(only, name) {
		return fmt.Sprintf("its `%s` do not match %s", what, name)
	}
	if hasIgnore && matches(ignore, name) {
		return fmt.Sprintf("its `%s-ignore` matches %s", what, name)
	}
	return ""
}

func refusesPaths(e *syntax.Event, ev Event) string {
	if !ev.FilesKnown {
		return ""
	}
	if e.HasPaths && !slices.ContainsFunc(ev.Files, filter(e.Paths)) {
		return "no changed file matches its `paths`"
	}
	if e.HasPathsIgnore {
		ignored := filter(e.PathsIgnore)
		if !slices.ContainsFunc(ev.Files, func(f string) bool { return !ignored(f) }) {
			return "every changed file matches its `paths-ignore`"
		}
	}
	return ""
}

func matches(patterns []*syntax.Scalar, name string) bool { return filter(patterns)(name) }

// filter compiles patterns: the last one that matches decides, and nothing matches without one that is not negated.
// A bad pattern matches nothing; check reports it.
func filter(patterns []*syntax.Scalar) func(string) bool {
	var globs []*Glob
	for _, p := range patterns {
		if g, err := ParseGlob(p.Text); err == nil {
			globs = append(globs, g)
		}
	}
	return func(name string) bool {
		for _, g := range slices.Backward(globs) {
			if g.Match(name) {
				return !g.Negated
			}
		}
		return false
	}
}

func texts(list []*syntax.Scalar) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.Text
	}
	return out
}
