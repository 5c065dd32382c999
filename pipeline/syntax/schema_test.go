package syntax

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write schema.json anew")

// TestSchemaIsPublished: schema.json is what `slipway schema` prints, and says something of every key.
func TestSchemaIsPublished(t *testing.T) {
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.json", schema, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	published, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(schema, published) {
		t.Error("schema.json is not what the tables of keys give; go test ./pipeline/syntax -run Schema -update writes it anew")
	}
	var root any
	if err := json.Unmarshal(schema, &root); err != nil {
		t.Fatal(err)
	}
	untypedKeys(t, root, "")
}

func untypedKeys(t *testing.T, node any, at string) {
	switch n := node.(type) {
	case map[string]any:
		if n["$comment"] == untyped["$comment"] {
			t.Errorf("schema.go does not know the type of %s", at)
		}
		for key, child := range n {
			untypedKeys(t, child, at+"/"+key)
		}
	case []any:
		for _, child := range n {
			untypedKeys(t, child, at)
		}
	}
}

// generator makes workflows, most of them wrong in one or two places.
type generator struct{ *rand.Rand }

func (g generator) pick(values ...any) any { return values[g.IntN(len(values))] }

type keyTable = keys

type fields = map[string]any

// some keeps each of the fields with an even chance; the named ones always.
func (g generator) some(all fields, always ...string) fields {
	out := fields{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if g.IntN(2) == 0 || slices.Contains(always, key) {
			out[key] = all[key]
		}
	}
	return out
}

func (g generator) workflow() fields {
	return g.some(fields{
		"name": "n", "run-name": "r ${{ x }}", "description": "d", "on": g.on(), "env": fields{"A": 1, "B": nil}, "defaults": g.defaults(),
		"permissions": g.pick("read-all", fields{}, fields{"contents": "read", "id-token": "write"}), "concurrency": g.concurrency(),
		"jobs": fields{"a": g.job(), "b": g.job()},
	}, "on", "jobs")
}

func (g generator) defaults() any {
	return g.pick(fields{}, fields{"run": g.some(fields{"shell": "bash", "working-directory": "x"})})
}

func (g generator) concurrency() any {
	return g.pick("g", g.some(fields{"group": "g", "cancel-in-progress": g.pick(true, "${{ x }}"), "queue": "max"}, "group"))
}

func (g generator) on() any {
	texts := g.pick("x", []any{"a", "b"}, []any{})
	inputs := g.pick(nil, fields{"i": g.pick(nil, g.some(fields{"type": "string", "required": true, "default": 1, "description": "d", "options": []any{"a"}, "deprecationMessage": "m"}))})
	return g.pick("push", []any{"push", "pull_request"}, fields{"push": nil}, fields{
		"push":          g.some(fields{"branches": texts, "tags": texts, "paths": texts, "branches-ignore": texts}),
		"pull_request":  g.some(fields{"types": texts, "branches": texts, "paths-ignore": texts}),
		"schedule":      []any{fields{"cron": "* * * * *"}},
		"issues":        g.some(fields{"types": texts}),
		"workflow_call": g.some(fields{"inputs": inputs, "secrets": fields{"s": g.pick(nil, fields{"required": true})}, "outputs": fields{"o": fields{"value": "v"}}}),
	}, fields{"workflow_dispatch": g.pick(nil, fields{"inputs": inputs})})
}

func (g generator) job() fields {
	common := fields{
		"name": "n", "needs": g.pick("a", []any{"a"}), "if": g.pick(true, "x"), "permissions": fields{"issues": "none"}, "concurrency": g.concurrency(),
		"strategy": g.some(fields{"matrix": g.pick("${{ x }}", fields{"v": []any{1, "b", fields{"c": nil}}, "include": []any{fields{"v": 3}}}), "fail-fast": false, "max-parallel": 2}),
	}
	switch g.IntN(6) {
	case 0:
		return g.some(merge(common, fields{"uses": "./x.yml", "with": fields{"a": 1}, "secrets": g.pick("inherit", fields{"s": "x"})}), "uses")
	case 1:
		return g.some(merge(common, fields{"rollout": fields{"a": []any{1}}, "env": fields{}}), "rollout")
	}
	container := fields{"image": "i", "env": fields{"A": "b"}, "ports": []any{80, "81:82"}, "volumes": []any{"a:b"}, "options": "--x", "credentials": g.some(fields{"username": "u", "password": "p"})}
	cache := g.some(fields{"path": "p", "key": "k", "restore-keys": []any{"a"}, "scope": "s"})
	steps := []any{g.step()}
	for g.IntN(3) > 0 {
		steps = append(steps, g.step())
	}
	return g.some(merge(common, fields{
		"runs-on": g.pick("x", []any{"a", "b"}, fields{"labels": "x"}, fields{"group": "g", "labels": []any{"x"}}), "steps": steps, "env": fields{"A": true},
		"outputs": fields{"o": "x"}, "defaults": g.defaults(), "timeout-minutes": g.pick(5, "${{ x }}"), "continue-on-error": g.pick(true, "${{ x }}"),
		"container": g.pick("i", g.some(container, "image")), "services": fields{"s": g.some(container, "image")}, "environment": g.pick("e", fields{"name": "e", "url": "u"}),
		"pool": g.pick("p", []any{"p"}), "resources": g.some(fields{"cpu": 1, "memory": "1Gi", "pids": 5}), "egress": "none",
		"retry": g.some(fields{"attempts": 2, "on": []any{"lost"}, "backoff": "1s"}), "cache": g.pick(cache, []any{cache}),
	}), "runs-on", "steps")
}

func (g generator) step() any {
	common := fields{
		"name": "n", "id": "i", "if": "x", "env": fields{"A": "b"}, "continue-on-error": false, "timeout-minutes": 1.5,
		"resources": g.some(fields{"cpu": 1}), "retry": fields{"attempts": 2}, "reports": g.some(fields{"junit": "x", "sarif": []any{"y"}}),
	}
	if g.IntN(2) == 0 {
		return g.some(merge(common, fields{"uses": "a/b@v1", "with": fields{"x": 1}}), "uses")
	}
	return g.some(merge(common, fields{"run": g.pick("x", nil, 1), "shell": "bash", "working-directory": "d", "image": "i"}), "run")
}

func merge(a, b fields) fields {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func (g generator) wrong() any {
	return g.pick(nil, true, 3, 1.5, "", " ", "x", "push", "inherit", "${{ x }}", []any{}, []any{"a"}, []any{nil}, []any{""}, []any{[]any{1}}, fields{}, fields{"a": "b"},
		fields{"": "x"}, fields{"${{ x }}": 1}, fields{"a": fields{}}, fields{"run": "x"})
}

// change makes one change somewhere in the value: another value, a key more, a key less.
func (g generator) change(v any, keys []string) any {
	switch n := v.(type) {
	case fields:
		names := slices.Sorted(maps.Keys(n))
		switch at := g.IntN(8); {
		case at == 0 || len(names) == 0:
			n[keys[g.IntN(len(keys))]] = g.wrong()
		case at == 1:
			delete(n, names[g.IntN(len(names))])
		default:
			name := names[g.IntN(len(names))]
			n[name] = g.change(n[name], keys)
		}
		return n
	case []any:
		if len(n) > 0 && g.IntN(4) > 0 {
			i := g.IntN(len(n))
			n[i] = g.change(n[i], keys)
			return n
		}
	}
	return g.wrong()
}

// TestSchemaAndReaderAgree: what the schema takes the reader takes, and the other way round.
func TestSchemaAndReaderAgree(t *testing.T) {
	source, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(SchemaID, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, k := range []keyTable{workflowKeys, jobKeys, stepKeys, strategyKeys, containerKeys, serviceKeys, inputKeys, permissionKeys, environmentKeys, cacheKeys, reportsKeys} {
		keys = append(keys, k.names...)
	}
	keys = append(keys, "bogus", "group", "labels", "run", "push", "schedule", "types", "branches", "${{ x }}")
	g := generator{rand.New(rand.NewPCG(1, 2))}
	accepted, refused := 0, 0
	for range 3000 {
		var workflow any = g.workflow()
		for n := g.IntN(3); n > 0; n-- {
			workflow = g.change(copyOf(t, workflow), keys)
		}
		text, err := json.Marshal(workflow)
		if err != nil {
			t.Fatal(err)
		}
		_, found := Parse(".slipway/x.yml", text, Limits{})
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		invalid := schema.Validate(instance)
		if found.HasErrors() != (invalid != nil) {
			t.Errorf("%s\nthe reader: %vthe schema: %v", text, found, invalid)
		}
		if invalid == nil {
			accepted++
		} else {
			refused++
		}
	}
	if accepted < 1000 || refused < 1000 {
		t.Errorf("%d accepted, %d refused: the cases are one-sided", accepted, refused)
	}
	t.Logf("%d accepted, %d refused by both", accepted, refused)
}

// copyOf is a copy that shares nothing, so that a change happens once.
func copyOf(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSchemaIsForEditors(t *testing.T) {
	source, err := Schema()
	if err != nil || !strings.Contains(string(source), `"description": "Slipway's own. Labels`) {
		t.Error("our own keys are not described", err)
	}
}
