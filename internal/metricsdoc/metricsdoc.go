// Package metricsdoc compares registered metrics with the tables of docs/metrics.md, so that neither is ahead of the other.
package metricsdoc

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// described is what a Desc says of itself; the library offers no other way to ask.
	described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: .*, constLabels: \{(.*?)\}, variableLabels: \{(.*)\}\}$`)
	labelName = regexp.MustCompile(`[a-z_]+`)
	constName = regexp.MustCompile(`([a-z_]+)=`)
	row       = regexp.MustCompile("^\\| `([a-z_]+)` \\|[^|]*\\|([^|]*)\\|")
)

// groups are whole families that the client library makes; a document names them once.
var groups = []string{"go_", "process_"}

// Compare returns how the metrics of a registry differ from the table under a heading of a Markdown file. A row is
// | `name` | kind | labels | meaning |.
func Compare(registry *prometheus.Registry, file, heading string) ([]string, error) {
	registered, err := registeredOf(registry)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	documented, err := documentedIn(string(text), heading)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(registered)) {
		labels, found := documented[name]
		switch {
		case !found:
			out = append(out, fmt.Sprintf("%s is registered, but not under %q", name, heading))
		case labels != registered[name]:
			out = append(out, fmt.Sprintf("%s has the labels %q, documented are %q", name, registered[name], labels))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if _, found := registered[name]; !found {
			out = append(out, fmt.Sprintf("%s is documented under %q, but not registered", name, heading))
		}
	}
	return out, nil
}

// registeredOf returns name → labels, sorted.
func registeredOf(registry *prometheus.Registry) (map[string]string, error) {
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	out := map[string]string{}
	var err error
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			err = fmt.Errorf("metricsdoc: a description is not as expected: %s", d)
			continue
		}
		if slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(m[1], g) }) {
			continue
		}
		labels := labelName.FindAllString(m[3], -1)
		for _, c := range constName.FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, c[1])
		}
		slices.Sort(labels)
		out[m[1]] = strings.Join(labels, " ")
	}
	return out, err
}

// documentedIn returns name → labels, sorted, of the rows between a heading and the next one.
func documentedIn(text, heading string) (map[string]string, error) {
	_, section, found := strings.Cut("\n"+text, "\n"+heading+"\n")
	if !found {
		return nil, fmt.Errorf("no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	out := map[string]string{}
	for line := range strings.Lines(section) {
		if m := row.FindStringSubmatch(line); m != nil {
			labels := labelName.FindAllString(m[2], -1)
			slices.Sort(labels)
			out[m[1]] = strings.Join(labels, " ")
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no table under %q", heading)
	}
	return out, nil
}
