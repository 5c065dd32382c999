// Package version says which Slipway this is.
package version

import "runtime/debug"

// Version is set by the linker: -X github.com/slipway-ci/slipway/internal/version.Version=….
var Version string

// String is the release, or for other builds the commit that they were made from.
func String() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return "devel" + revision + dirty
}
