// Package actions knows what actions of the repository need of a host: which Node.js runs them, and how they are told their inputs.
package actions

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Node is a Node.js that an image has.
type Node struct {
	// Binary is its path in the container.
	Binary  string
	Version *semver.Version
	// OnPath: not in the tool cache.
	OnPath bool
}

// ListNodes is a script that prints what Nodes reads. Its $0 is the tool cache, its $1 the architecture as tool caches spell it.
const ListNodes = `for d in "$0"/node/*/"$1"; do if [ -x "$d/bin/node" ]; then printf 'cache %s\n' "$d"; fi; done
n=$(command -v node) && printf 'path %s %s\n' "$(node --version)" "$n"
exit 0`

// Nodes reads what ListNodes printed.
func Nodes(printed string) []Node {
	var all []Node
	for line := range strings.Lines(printed) {
		kind, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		version, binary := path.Base(path.Dir(rest)), path.Join(rest, "bin", "node")
		if kind == "path" {
			version, binary, _ = strings.Cut(rest, " ")
		}
		if v, err := semver.NewVersion(version); err == nil && binary != "" {
			all = append(all, Node{Binary: binary, Version: v, OnPath: kind == "path"})
		}
	}
	return all
}

// NoNodeError says that an image has no Node.js that an action could run on.
type NoNodeError struct {
	Uses         string
	Wanted, Runs uint64
	Has          []Node
	ToolCache    string
}

// Error says what is wanted, what there is, and what would help.
func (e *NoNodeError) Error() string {
	has := "it has none"
	if len(e.Has) > 0 {
		var names []string
		for _, n := range e.Has {
			names = append(names, n.Version.String())
		}
		has = "it has " + strings.Join(names, ", ")
	}
	wants := fmt.Sprintf("is written for Node.js %d", e.Wanted)
	if e.Runs != e.Wanted {
		wants += fmt.Sprintf(", which %d stands in for", e.Runs)
	}
	return fmt.Sprintf("the action %s %s, and the job's image has neither that nor a newer one in its tool cache (%s/node) or on PATH: %s. Use an image that has it (`runners:` in the coordinator's configuration), or setup-node before this step",
		e.Uses, wants, e.ToolCache, has)
}

// oldest is what runs actions for a Node.js that nobody maintains, as on GitHub.
const oldest = 20

// Pick chooses what runs an action that is written for a major version: the newest of that version, from the tool cache before PATH, else of the next
// newer one. The error is a *NoNodeError.
func Pick(uses string, wanted uint64, has []Node, toolCache string) (Node, error) {
	runs := max(wanted, oldest)
	fit := slices.DeleteFunc(slices.Clone(has), func(n Node) bool { return n.Version.Major() < runs || n.Version.Prerelease() != "" })
	if len(fit) == 0 {
		return Node{}, &NoNodeError{Uses: uses, Wanted: wanted, Runs: runs, Has: has, ToolCache: toolCache}
	}
	return slices.MinFunc(fit, func(a, b Node) int {
		switch {
		case a.Version.Major() != b.Version.Major():
			return int(a.Version.Major()) - int(b.Version.Major()) //nolint:gosec // versions are small
		case a.OnPath != b.OnPath && b.OnPath:
			return -1
		case a.OnPath != b.OnPath:
			return 1
		}
		return b.Version.Compare(a.Version)
	}), nil
}

// InputVariable is the environment variable that tells a node action an input.
func InputVariable(name string) string {
	return "INPUT_" + strings.ToUpper(strings.ReplaceAll(name, " ", "_"))
}
