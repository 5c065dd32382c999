// Package actions knows which `uses:` Slipway runs, and as what: the well-known actions that are native steps, and how
// to say no to all others.
package actions

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Native is a step that the agent does itself.
type Native struct {
	// Name in the plan: checkout, setup-node, upload-artifact, download-artifact.
	Name string
	// Action is owner/repo that it stands for, and From and To the major versions.
	Action   string
	From, To int
	// Inputs that it obeys.
	Inputs []string
	// Ignored inputs change nothing here that a workflow could rely on; `slipway plan` lists those that a step gives.
	Ignored []string
	// Refused inputs ask for something that it can't do yet; with another value than these they are an error.
	Refused map[string][]string
}

// natives is the alias table.
var natives = []Native{
	{
		Name: "checkout", Action: "actions/checkout", From: 3, To: 6,
		Inputs: []string{"path"},
		Ignored: []string{"token", "ssh-key", "ssh-known-hosts", "ssh-strict", "ssh-user", "persist-credentials", "clean",
			"fetch-depth", "fetch-tags", "show-progress", "set-safe-directory", "filter", "github-server-url"},
		Refused: map[string][]string{
			"repository": {"", "${{ github.repository }}"}, "ref": {"", "${{ github.ref }}", "${{ github.sha }}"},
			"submodules": {"", "false"}, "lfs": {"", "false"}, "sparse-checkout": {""}, "sparse-checkout-cone-mode": {"", "true"},
		},
	},
	{
		Name: "setup-node", Action: "actions/setup-node", From: 3, To: 6,
		Inputs: []string{"node-version", "node-version-file", "architecture"},
		Ignored: []string{"cache", "cache-dependency-path", "package-manager-cache", "check-latest", "token", "mirror",
			"mirror-token"},
		Refused: map[string][]string{"registry-url": {""}, "scope": {""}, "always-auth": {"", "false"}},
	},
	{
		Name: "upload-artifact", Action: "actions/upload-artifact", From: 4, To: 5,
		Inputs: []string{"name", "path", "if-no-files-found", "overwrite", "include-hidden-files", "compression-level", "retention-days"},
	},
	{
		Name: "download-artifact", Action: "actions/download-artifact", From: 4, To: 6,
		Inputs: []string{"name", "path", "pattern", "merge-multiple"},
		Refused: map[string][]string{"artifact-ids": {""}, "github-token": {"", "${{ github.token }}", "${{ secrets.GITHUB_TOKEN }}"},
			"repository": {"", "${{ github.repository }}"}, "run-id": {"", "${{ github.run_id }}"}},
	},
}

// Error says why a `uses:` does not run.
type Error struct{ Code, Message, Hint string }

// Error returns the message.
func (e *Error) Error() string { return e.Message }

var (
	commit  = regexp.MustCompile(`^[0-9a-f]{40}$`)
	version = regexp.MustCompile(`^v(\d{1,4})(\.\d+){0,2}$`)
)

// Lookup finds the native step for a `uses:`. pinned is true for a commit, whose version nobody can tell from it. The
// error is an *Error.
func Lookup(uses string) (n *Native, pinned bool, err error) {
	name, ref, hasRef := strings.Cut(uses, "@")
	switch {
	case strings.HasPrefix(uses, "./"), strings.HasPrefix(uses, "../"), strings.HasPrefix(uses, "$/"):
		return nil, false, unsupported("`%s` is an action of the repository itself, which is no native step", uses)
	case strings.HasPrefix(uses, "docker://"):
		return nil, false, unsupported("steps that are a container image (`%s`) are not supported yet", uses)
	case strings.HasPrefix(uses, "slipway/"), strings.HasPrefix(uses, "plugin://"):
		return nil, false, unsupported("plugins (`%s`) are not supported yet", uses)
	case !strings.Contains(name, "/") || !hasRef || ref == "":
		return nil, false, &Error{"bad-uses", fmt.Sprintf("`%s` is not an action", uses), "name one as owner/repository@version"}
	}
	i := slices.IndexFunc(natives, func(n Native) bool { return strings.EqualFold(n.Action, name) })
	if i < 0 {
		e := unsupported("the action `%s` is not supported yet", uses)
		e.Hint = "supported are " + supportedText() + "; do the rest in `run`"
		return nil, false, e
	}
	found := natives[i]
	if commit.MatchString(ref) {
		return &found, true, nil
	}
	m := version.FindStringSubmatch(ref)
	major := 0
	if m != nil {
		_, _ = fmt.Sscan(m[1], &major) //nolint:errcheck // the pattern has digits there
	}
	if major < found.From || major > found.To {
		e := unsupported("`%s` is not supported: of %s there are v%d to v%d", uses, found.Action, found.From, found.To)
		e.Hint = fmt.Sprintf("use %s@v%d", found.Action, found.To)
		return nil, false, e
	}
	return &found, false, nil
}

func unsupported(format string, args ...any) *Error {
	return &Error{Code: "not-supported", Message: fmt.Sprintf(format, args...)}
}

func supportedText() string {
	names := make([]string, len(natives))
	for i, n := range natives {
		names[i] = n.Action
	}
	return strings.Join(names, ", ")
}

// InputStatus is what becomes of one input of a step.
type InputStatus uint8

// Input statuses.
const (
	Obeyed InputStatus = iota
	IgnoredInput
	RefusedInput
	UnknownInput
)

// Input says what becomes of an input with this value, as written.
func (n *Native) Input(name, value string) InputStatus {
	name = strings.ToLower(name)
	switch {
	case slices.Contains(n.Inputs, name):
		return Obeyed
	case slices.Contains(n.Ignored, name):
		return IgnoredInput
	}
	allowed, ok := n.Refused[name]
	switch {
	case !ok:
		return UnknownInput
	case slices.Contains(allowed, strings.TrimSpace(value)):
		return IgnoredInput
	}
	return RefusedInput
}

// Known lists every input that the action itself has.
func (n *Native) Known() []string {
	all := slices.Concat(n.Inputs, n.Ignored)
	for name := range n.Refused {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
