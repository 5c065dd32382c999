package native

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/workspace"
)

// setupNode puts the newest matching node of the image's tool cache in front of PATH. It downloads nothing.
func setupNode(ctx context.Context, c *Call) (Outcome, error) {
	if err := c.refuse("registry-url", "scope", "mirror", "mirror-token"); err != nil {
		return Outcome{}, err
	}
	if v := c.input("cache", ""); v != "" {
		c.Annotate("notice", fmt.Sprintf("input cache: %s has no effect: there is no package cache yet", v))
	}
	c.ignore("there is no package cache yet", "cache-dependency-path", "package-manager-cache")
	c.ignore("versions come from the image only", "check-latest", "token", "always-auth")
	arch := NodeArch()
	if want := c.input("architecture", arch); want != arch {
		return Outcome{}, userErrorf("input architecture: this agent has %s, not %s", arch, want)
	}
	spec, err := c.nodeSpec()
	if err != nil {
		return Outcome{}, err
	}
	found, err := c.installed(ctx, arch)
	if err != nil {
		return Outcome{}, err
	}
	if spec == "" {
		return c.currentNode(ctx)
	}
	v, err := c.pickNode(spec, found)
	if err != nil {
		return Outcome{}, err
	}
	home := path.Join(c.ToolCache, "node", v.Original(), arch)
	c.Log("Found node %s in the image (%s), for %s.", v, home, spec)
	return Outcome{
		Outputs: []commands.Pair{{Name: "node-version", Value: "v" + v.String()}, {Name: "cache-hit", Value: "false"}},
		Path:    []string{path.Join(home, "bin")},
	}, nil
}

// NodeArch is how tool caches spell this host's architecture.
func NodeArch() string {
	if runtime.GOARCH == "amd64" {
		return "x64"
	}
	return runtime.GOARCH
}

// currentNode is setup-node without a version: the node that PATH has.
func (c *Call) currentNode(ctx context.Context) (Outcome, error) {
	out, code, err := c.Exec(ctx, "/bin/sh", "-c", "node --version")
	if err != nil {
		return Outcome{}, err
	}
	if code != 0 {
		return Outcome{}, userErrorf("no node-version is given, and the image has no node in its PATH")
	}
	v := strings.TrimSpace(out)
	c.Log("No node-version is given: the image's node %s stays.", v)
	return Outcome{Outputs: []commands.Pair{{Name: "node-version", Value: v}, {Name: "cache-hit", Value: "false"}}}, nil
}

// nodeSpec is what the inputs ask for; "" for nothing.
func (c *Call) nodeSpec() (string, error) {
	if v := c.input("node-version", ""); v != "" {
		return v, nil
	}
	file := c.input("node-version-file", "")
	if file == "" {
		return "", nil
	}
	t, rel, err := c.place(file)
	if err != nil {
		return "", err
	}
	data, err := workspace.ReadLimited(t.Root, rel, 1<<20)
	if err != nil {
		return "", userErrorf("node-version-file: %w", err)
	}
	if len(data) == 0 {
		return "", userErrorf("node-version-file: %s is not there, or empty; is checkout missing before this step?", file)
	}
	spec := versionInFile(path.Base(rel), string(data))
	if spec == "" {
		return "", userErrorf("node-version-file: %s names no node version", file)
	}
	return spec, nil
}

var toolVersions = regexp.MustCompile(`(?m)^\s*(?:nodejs|node)\s+(\S+)`)

func versionInFile(name, text string) string {
	switch name {
	case "package.json":
		var p struct {
			Volta struct {
				Node string `json:"node"`
			} `json:"volta"`
			Engines struct {
				Node string `json:"node"`
			} `json:"engines"`
		}
		if json.Unmarshal([]byte(text), &p) != nil {
			return ""
		}
		if p.Volta.Node != "" {
			return p.Volta.Node
		}
		return p.Engines.Node
	case ".tool-versions":
		if m := toolVersions.FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	default:
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				return line
			}
		}
		return ""
	}
}

// installed asks the image what its tool cache holds.
func (c *Call) installed(ctx context.Context, arch string) ([]*semver.Version, error) {
	out, code, err := c.Exec(ctx, "/bin/sh", "-c",
		`for d in "$0"/*/"$1"; do if [ -x "$d/bin/node" ]; then printf '%s\n' "$d"; fi; done`, path.Join(c.ToolCache, "node"), arch)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, userErrorf("the image's tool cache can't be listed: its /bin/sh ended with exit code %d", code)
	}
	var versions []*semver.Version
	for line := range strings.Lines(out) {
		if v, err := semver.NewVersion(path.Base(path.Dir(strings.TrimSpace(line)))); err == nil {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b *semver.Version) int { return b.Compare(a) })
	return versions, nil
}

// ltsNames are node's long-term lines by codename; every even major from 4 on is one.
var ltsNames = map[string]uint64{
	"argon": 4, "boron": 6, "carbon": 8, "dubnium": 10, "erbium": 12, "fermium": 14, "gallium": 16, "hydrogen": 18, "iron": 20, "jod": 22, "krypton": 24,
}

// pickNode returns the newest version that the spec allows; found is newest first.
func (c *Call) pickNode(spec string, found []*semver.Version) (*semver.Version, error) {
	allows, err := nodeRange(spec, found)
	if err != nil {
		return nil, err
	}
	for _, v := range found {
		if allows(v) {
			return v, nil
		}
	}
	if len(found) == 0 {
		return nil, userErrorf("no node %s: the image has no node in %s/node; use an image that has (`runners:` in the coordinator's configuration)",
			spec, c.ToolCache)
	}
	var names []string
	for _, v := range found {
		names = append(names, v.String())
	}
	return nil, userErrorf("no node %s in the image; it has %s. Ask for one of these, or use an image that has it (`runners:` in the coordinator's configuration)",
		spec, strings.Join(names, ", "))
}

func nodeRange(spec string, found []*semver.Version) (func(*semver.Version) bool, error) {
	s := strings.ToLower(strings.TrimSpace(spec))
	isLTS := func(v *semver.Version) bool { return v.Major() >= 4 && v.Major()%2 == 0 && v.Prerelease() == "" }
	switch {
	case s == "node" || s == "latest" || s == "current" || s == "*":
		return func(v *semver.Version) bool { return v.Prerelease() == "" }, nil
	case s == "lts/*" || s == "lts":
		return isLTS, nil
	case strings.HasPrefix(s, "lts/-"):
		back, err := strconv.Atoi(s[len("lts/-"):])
		var majors []uint64
		for _, v := range found {
			if isLTS(v) && !slices.Contains(majors, v.Major()) {
				majors = append(majors, v.Major())
			}
		}
		if err != nil || back < 0 {
			return nil, userErrorf("node-version: %q is not a version; lts/-1 is the line before the newest", spec)
		}
		return func(v *semver.Version) bool { return isLTS(v) && back < len(majors) && v.Major() == majors[back] }, nil
	case strings.HasPrefix(s, "lts/"):
		major, ok := ltsNames[s[len("lts/"):]]
		if !ok {
			return nil, userErrorf("node-version: there is no long-term line %q", spec)
		}
		return func(v *semver.Version) bool { return v.Major() == major }, nil
	}
	c, err := semver.NewConstraint(strings.ReplaceAll(s, "v", ""))
	if err != nil {
		return nil, userErrorf("node-version: %q is neither a version nor a range: %w", spec, fmt.Errorf("%w", err))
	}
	return c.Check, nil
}
