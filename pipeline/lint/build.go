package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/lint/shell"
)

func newMade() *made { return &made{refs: map[string]*step{}, pushed: map[string]bool{}} }

// makes notes what a step builds, pushes and fetches.
func (l *linter) makes(s *step, m *made) {
	if s.ast.Uses != nil {
		l.madeByAction(s, m)
		return
	}
	if s.script == nil {
		m.unknown = true
		return
	}
	locals := map[string]string{}
	for i := range s.script.Commands {
		c := &s.script.Commands[i]
		l.remember(s, c, locals)
		l.madeByCommand(s, c, m, locals)
	}
}

var imageWords = []string{"docker", "image", "kaniko", "buildah", "podman", "container", "buildx", "ko-build", "jib"}

func (l *linter) madeByAction(s *step, m *made) {
	switch {
	case s.ref.Name == "docker/build-push-action":
		m.builds = true
		push := truthy(s, "push") || strings.Contains(textOf(s, "outputs"), "registry") || strings.Contains(textOf(s, "outputs"), "push=true")
		for tag := range strings.FieldsFuncSeq(textOf(s, "tags"), func(r rune) bool { return r == '\n' || r == ',' }) {
			ref := l.canonical(s, strings.TrimSpace(tag), nil, 0)
			m.refs[ref] = s
			m.pushed[ref] = m.pushed[ref] || push
		}
	case s.lore.Builds, s.ref.Local, s.ref.Plugin, s.ref.Docker:
		m.builds, m.unknown = true, true
	case !s.isKnown && slices.ContainsFunc(imageWords, func(w string) bool { return strings.Contains(s.ref.Name, w) }):
		m.unknown = true
	}
}

func textOf(s *step, input string) string {
	if v := s.with(input); v != nil {
		return v.Text
	}
	return ""
}

// truthy: an input is true, or an expression decides.
func truthy(s *step, input string) bool {
	v := s.with(input)
	return v != nil && (v.Text == "true" || v.HasExpression())
}

func (l *linter) madeByCommand(s *step, c *shell.Command, m *made, locals map[string]string) {
	args := c.Args()
	switch name := c.Name(); name {
	case "docker", "podman", "nerdctl", "buildah":
		l.docker(s, c, m, locals)
	case "make", "just", "task", "npm", "yarn", "pnpm", "mvn", "gradle", "gradlew", "bash", "sh", "mage":
		for _, a := range args {
			if slices.ContainsFunc(imageWords, func(w string) bool { return strings.Contains(strings.ToLower(a), w) }) {
				m.builds, m.unknown = true, true
			}
		}
	case "docker-compose", "ko", "pack", "skaffold", "earthly", "bazel", "bazelisk", "img", "crane", "skopeo", "executor", "nix", "nix-build", "kind", "oras", "depot":
		m.builds, m.unknown = true, true
	case "":
		m.unknown = m.unknown || len(c.Words) > 0
	default:
		if first := firstWord(c); strings.Contains(first, "/") && slices.ContainsFunc(append(imageWords, "build"), func(w string) bool { return strings.Contains(first, w) }) {
			m.builds, m.unknown = true, true
		}
	}
}

// docker reads a command line of docker and of what is called like it.
func (l *linter) docker(s *step, c *shell.Command, m *made, locals map[string]string) {
	words := c.Words[1:]
	for len(words) > 0 && (words[0].Text == "buildx" || words[0].Text == "image" || words[0].Text == "builder") {
		words = words[1:]
	}
	if len(words) == 0 {
		return
	}
	ref := func(w shell.Word) string { return l.canonical(s, l.raw(s, w), locals, 0) }
	switch words[0].Text {
	case "build", "bud", "b":
		m.builds = true
		push := slices.ContainsFunc(words, func(w shell.Word) bool { return w.Text == "--push" })
		for _, tag := range tags(words) {
			r := ref(tag)
			if _, value, ok := strings.Cut(r, "="); ok && strings.HasPrefix(r, "-") {
				r = value
			}
			m.refs[r] = s
			m.pushed[r] = m.pushed[r] || push
		}
	case "tag":
		if len(words) == 3 {
			m.refs[ref(words[2])] = s
		}
	case "push":
		for _, w := range words[1:] {
			if w.Text == "--all-tags" || w.Text == "-a" {
				m.unknown = true
			}
			m.pushed[ref(w)] = true
		}
	case "pull":
		for _, w := range words[1:] {
			m.refs[ref(w)] = s
		}
	case "load", "import", "compose", "bake", "commit", "stack":
		m.builds, m.unknown = true, true
	}
}

// tags are the words that name the image of a build.
func tags(words []shell.Word) []shell.Word {
	var out []shell.Word
	for i, w := range words {
		switch {
		case (w.Text == "-t" || w.Text == "--tag") && i+1 < len(words):
			out = append(out, words[i+1])
		case strings.HasPrefix(w.Text, "--tag="), strings.HasPrefix(w.Text, "-t="):
			out = append(out, w)
		}
	}
	return out
}

// rebuilt warns where a job builds, scans, and builds anew what it pushes.
func (l *linter) rebuilt(j *job) {
	built := map[string]*step{} // image → step that built it and did not push
	var scanned *step           // the build whose image was scanned
	scanLine := 0
	for _, s := range j.steps {
		if s.ref.Name == "docker/build-push-action" {
			if scanned != nil && truthy(s, "push") && sameInputs(scanned, s) {
				l.warn(s.ast.Uses.Pos, RebuiltAfterScan, "push the image that was scanned: `docker tag` and `docker push`, or scan what is pushed, by its digest",
					"this builds the image again and pushes it: what was scanned (line %d) is another one, built by the step on line %d", scanLine, scanned.ast.Pos.Line)
				return
			}
			if !truthy(s, "push") {
				for tag := range strings.FieldsFuncSeq(textOf(s, "tags"), func(r rune) bool { return r == '\n' || r == ',' }) {
					built[l.canonical(s, strings.TrimSpace(tag), nil, 0)] = s
				}
			}
			continue
		}
		if len(built) == 0 || scanned != nil || s.isKnown && !s.lore.Scanner {
			continue
		}
		for _, found := range l.scansOf(s) {
			if b := built[found.ref]; b != nil {
				scanned, scanLine = b, l.place(found.text, found.offset).Line
			}
		}
	}
}

// sameInputs: both builds are of the same thing.
func sameInputs(a, b *step) bool {
	for _, input := range []string{"context", "file", "target"} {
		if textOf(a, input) != textOf(b, input) {
			return false
		}
	}
	return true
}
