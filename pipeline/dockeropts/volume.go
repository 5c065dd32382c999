package dockeropts

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Volume is one item of `volumes`. Exactly one of Name and Host is set, or none for an anonymous one.
type Volume struct {
	// Name of a volume that lives as long as its job.
	Name string
	// Host is a path on the agent's host.
	Host string
	// Target is where it is mounted; clean and absolute.
	Target   string
	ReadOnly bool
}

var volumeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// reserved can't be mounted over: the container needs what is there.
var reserved = []string{"/proc", "/sys", "/dev", "/.slipway", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/github"}

// ParseVolume reads `/target`, `name:/target` or `/host/path:/target`, each with `:ro` or `:rw` behind it but the first.
func ParseVolume(text string) (Volume, error) {
	parts := strings.Split(text, ":")
	var v Volume
	switch len(parts) {
	case 1:
		v.Target = parts[0]
	case 3:
		switch parts[2] {
		case "ro":
			v.ReadOnly = true
		case "rw":
		default:
			return v, fmt.Errorf("`%s`: of what stands behind the second colon only ro and rw are supported", text)
		}
		fallthrough
	case 2:
		v.Target = parts[1]
		switch source := parts[0]; {
		case strings.HasPrefix(source, "/"):
			v.Host = path.Clean(source)
		case volumeName.MatchString(source):
			v.Name = source
		default:
			return v, fmt.Errorf("`%s`: `%s` is neither the name of a volume (letters, digits and . _ -) nor an absolute path", text, source)
		}
	default:
		return v, fmt.Errorf("`%s` is not a volume: want /target, name:/target or /host/path:/target, and :ro behind it for read-only", text)
	}
	if !strings.HasPrefix(v.Target, "/") || strings.ContainsRune(text, 0) {
		return v, fmt.Errorf("`%s`: what it is mounted at, `%s`, is not an absolute path", text, v.Target)
	}
	v.Target = path.Clean(v.Target)
	for _, dir := range reserved {
		if v.Target == "/" || v.Target == dir || strings.HasPrefix(v.Target, dir+"/") {
			return v, fmt.Errorf("`%s`: nothing can be mounted at %s", text, v.Target)
		}
	}
	return v, nil
}
