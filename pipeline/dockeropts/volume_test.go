package dockeropts

import (
	"strings"
	"testing"
)

func TestParseVolume(t *testing.T) {
	for text, want := range map[string]Volume{
		"/data":              {Target: "/data"},
		"/data/../d/":        {Target: "/d"},
		"db:/var/lib/db":     {Name: "db", Target: "/var/lib/db"},
		"a.b_c-1:/x:ro":      {Name: "a.b_c-1", Target: "/x", ReadOnly: true},
		"/srv//cache/:/c:rw": {Host: "/srv/cache", Target: "/c"},
		"/srv/../etc:/c":     {Host: "/etc", Target: "/c"},
		"/etc:/etc/hosts.d":  {Host: "/etc", Target: "/etc/hosts.d"},
		"/process:/process":  {Host: "/process", Target: "/process"},
	} {
		if got, err := ParseVolume(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "not an absolute path", "data": "not an absolute path", "a:b": "not an absolute path", "a:/b:z": "only ro and rw", "a:/b:ro:x": "is not a volume",
		"./x:/b": "neither the name", "-x:/b": "neither the name", ":/b": "neither the name", strings.Repeat("x", 64) + ":/b": "neither the name",
		"a:/": "nothing can be mounted", "a:/b/..": "nothing can be mounted", "a:/proc/sys": "nothing can be mounted", "/x:/.slipway/run": "nothing can be mounted",
		"a:/github/home": "nothing can be mounted", "a:/etc/hosts": "nothing can be mounted",
	} {
		if got, err := ParseVolume(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q", text, got, err, want)
		}
	}
}
