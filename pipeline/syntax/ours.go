package syntax

import "go.yaml.in/yaml/v3"

var (
	resourcesKeys   = makeKeys("`resources`", "cpu memory pids")
	retryKeys       = makeKeys("`retry`", "attempts on backoff")
	reportsKeys     = makeKeys("`reports`", "junit sarif coverage sbom")
	cacheKeys       = makeKeys("`cache`", "path key restore-keys scope")
	environmentKeys = makeKeys("`environment`", "name url deployment")
)

func (r *reader) resources(n *yaml.Node) *Resources {
	out := &Resources{}
	r.mapping(n, resourcesKeys, func(key string, _, v *yaml.Node) {
		switch s := r.literal(v, "`"+key+"`"); key {
		case "cpu":
			out.CPU = s
		case "memory":
			out.Memory = s
		case "pids":
			out.PIDs = s
		}
	})
	return out
}

func (r *reader) retry(n *yaml.Node) *Retry {
	out := &Retry{}
	r.mapping(n, retryKeys, func(key string, _, v *yaml.Node) {
		switch key {
		case "attempts":
			out.Attempts = r.literal(v, "`attempts`")
		case "backoff":
			out.Backoff = r.literal(v, "`backoff`")
		case "on":
			out.On = r.texts(v, "`on`")
		}
	})
	return out
}

func (r *reader) reports(n *yaml.Node) *Reports {
	out := &Reports{Pos: pos(n)}
	r.mapping(n, reportsKeys, func(key string, _, v *yaml.Node) {
		switch list := r.texts(v, "`"+key+"`"); key {
		case "junit":
			out.JUnit = list
		case "sarif":
			out.SARIF = list
		case "coverage":
			out.Coverage = list
		case "sbom":
			out.SBOM = list
		}
	})
	return out
}

// caches reads one cache volume, or a list of them.
func (r *reader) caches(n *yaml.Node) []*Cache {
	v := resolve(n)
	if v.Kind != yaml.SequenceNode {
		return []*Cache{r.cache(n)}
	}
	var out []*Cache
	for _, item := range v.Content {
		out = append(out, r.cache(item))
	}
	return out
}

func (r *reader) cache(n *yaml.Node) *Cache {
	c := &Cache{Pos: pos(n)}
	r.mapping(n, cacheKeys, func(key string, _, v *yaml.Node) {
		what := "`" + key + "`"
		switch key {
		case "path":
			c.Path = r.texts(v, what)
		case "key":
			c.Key = r.text(v, what)
		case "restore-keys":
			c.RestoreKeys = r.texts(v, what)
		case "scope":
			c.Scope = r.literal(v, what)
		}
	})
	return c
}

// environment reads the name of a deploy target, or a mapping with its name.
func (r *reader) environment(n *yaml.Node) *Environment {
	e := &Environment{Pos: pos(n)}
	if resolve(n).Kind == yaml.ScalarNode {
		e.Name = r.text(n, "`environment`")
		return e
	}
	r.mapping(n, environmentKeys, func(key string, _, v *yaml.Node) {
		switch s := r.scalar(v, "`"+key+"`"); key {
		case "name":
			e.Name = s
		case "url":
			e.URL = s
		}
	})
	if e.Name == nil {
		r.report(e.Pos, "missing-key", "", "`environment` needs a `name`")
	}
	return e
}
