package syntax

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// The JSON schema is made from the same tables of keys that the reader goes by, so that a key can't be in one and not in
// the other. What a schema can't say (ids that repeat, needs that no job has) is for `slipway validate`.

type object = map[string]any

// SchemaID names the published schema.
const SchemaID = "https://github.com/slipway-ci/slipway/blob/main/pipeline/syntax/schema.json"

// Schema returns the JSON schema (2020-12) of workflow files in .slipway/, for editors. Those in .github/ are the same without
// the keys whose description begins with "Slipway".
func Schema() ([]byte, error) {
	root := workflowSchema()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = SchemaID
	root["title"] = "Slipway workflow"
	root["$defs"] = definitions()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

const expressionPattern = `\$\{\{`

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

func anyOf(all ...object) object { return object{"anyOf": all} }

// definitions are the reader's own types: see reader.go for each.
func definitions() object {
	expression := object{"type": "string", "pattern": expressionPattern}
	return object{
		"scalar":     object{"type": []string{"string", "number", "boolean", "null"}},
		"text":       object{"type": []string{"string", "number", "boolean"}, "pattern": `\S`},
		"literal":    object{"$ref": "#/$defs/text", "not": expression},
		"boolean":    anyOf(object{"type": "boolean"}, expression),
		"number":     anyOf(object{"type": "number"}, expression),
		"list":       object{"type": "array", "items": ref("text")},
		"texts":      anyOf(ref("text"), ref("list")),
		"textMap":    object{"type": "object", "propertyNames": object{"minLength": 1, "not": expression}, "additionalProperties": ref("scalar")},
		"data":       anyOf(ref("scalar"), object{"type": "array", "items": ref("data")}, object{"type": "object", "propertyNames": object{"not": expression}, "additionalProperties": ref("data")}),
		"defaults":   mappingSchema(defaultsKeys, object{"run": mappingSchema(defaultsRunKeys, object{"shell": ref("text"), "working-directory": ref("text")})}),
		"container":  containerSchema(containerKeys),
		"service":    containerSchema(serviceKeys),
		"permission": object{"enum": []string{"read", "write", "none"}},
		"permissions": anyOf(object{"enum": []string{"read-all", "write-all"}},
			mappingSchema(permissionKeys, each(permissionKeys, ref("permission")))),
		"concurrency": anyOf(ref("text"), required(mappingSchema(concurrencyKeys, object{
			"group": ref("text"), "cancel-in-progress": ref("boolean"), "queue": ref("text"),
		}), "group")),
		"job":  jobSchema(),
		"step": stepSchema(),
	}
}

func each(k keys, schema object) object {
	all := object{}
	for _, name := range k.names {
		all[name] = schema
	}
	return all
}

// untyped marks a key that the table has and the schema was not told of; a test finds it.
var untyped = object{"$comment": "any"}

// mappingSchema is a mapping with the keys that work, of a table.
func mappingSchema(k keys, types object) object {
	properties := object{}
	for _, name := range k.names {
		if s := k.state[name]; s == later || s == oursLater {
			continue
		}
		schema, ok := types[name].(object)
		if !ok {
			schema = untyped
		}
		if about, ok := descriptions[name]; ok && k.state[name] == ours {
			schema = maps.Clone(schema)
			schema["description"] = "Slipway's own. " + about
		}
		properties[name] = schema
	}
	return object{"type": "object", "properties": properties, "additionalProperties": false}
}

// descriptions of Slipway's own keys.
var descriptions = map[string]string{
	"pool":      "Labels that the agent must have, beside what runs-on maps to.",
	"resources": "What the scheduler reserves, and cgroups hold to.",
	"egress":    "What the job may reach: all (default) or none.",
	"cache":     "Cache volumes: path, key, restore-keys, scope.",
	"rollout":   "A gradual delivery of one artifact to one environment, in place of steps.",
	"image":     "Run this step in a container of its own.",
	"reports":   "Files to collect and show: junit, sarif, coverage, sbom.",
	"retry":     "When it is tried again: attempts, on (lost, failure, timeout), backoff.",
}

func required(schema object, names ...string) object {
	schema["required"] = names
	return schema
}

func workflowSchema() object {
	return required(mappingSchema(workflowKeys, object{
		"name": ref("scalar"), "description": ref("scalar"), "run-name": ref("scalar"), "on": onSchema(), "env": ref("textMap"), "defaults": ref("defaults"),
		"permissions": ref("permissions"), "concurrency": ref("concurrency"),
		"jobs": object{"allOf": []object{named(ref("job"))}, "minProperties": 1},
	}), "on", "jobs")
}

func onSchema() object {
	events := object{}
	filters := object{}
	for _, name := range slices.Concat(pushKeys.names, branchEventKeys.names, otherEventKeys.names) {
		filters[name] = ref("texts")
	}
	for _, name := range Events {
		events[name] = orEmpty(eventSchema(name, filters))
	}
	name := object{"enum": Events}
	return anyOf(name, object{"type": "array", "minItems": 1, "items": name},
		object{"type": "object", "minProperties": 1, "properties": events, "additionalProperties": false})
}

func orEmpty(schema object) object { return anyOf(object{"type": "null"}, schema) }

func eventSchema(name string, filters object) object {
	switch name {
	case "push":
		return mappingSchema(pushKeys, filters)
	case "pull_request", "pull_request_target":
		return mappingSchema(branchEventKeys, filters)
	case "workflow_dispatch":
		return mappingSchema(dispatchKeys, object{"inputs": inputsSchema()})
	case "schedule":
		return object{"type": "array", "items": mappingSchema(scheduleKeys, each(scheduleKeys, ref("literal")))}
	case "workflow_call":
		secret := mappingSchema(callSecretKeys, object{"description": object{}, "required": ref("boolean")})
		output := required(mappingSchema(callOutputKeys, each(callOutputKeys, ref("scalar"))), "value")
		return mappingSchema(callEventKeys, object{"inputs": inputsSchema(), "secrets": orEmpty(named(orEmpty(secret))), "outputs": orEmpty(named(output))})
	}
	return mappingSchema(otherEventKeys, filters)
}

func inputsSchema() object {
	return orEmpty(named(orEmpty(mappingSchema(inputKeys, object{
		"description": ref("scalar"), "required": ref("boolean"), "default": ref("scalar"), "type": ref("literal"), "options": ref("list"),
		"deprecationMessage": object{},
	}))))
}

// named is a mapping whose keys people choose.
func named(value object) object {
	return object{"type": "object", "propertyNames": object{"not": object{"pattern": expressionPattern}}, "additionalProperties": value}
}

func jobSchema() object {
	secrets := anyOf(object{"const": "inherit"}, ref("textMap"))
	environment := anyOf(ref("text"), required(mappingSchema(environmentKeys, each(environmentKeys, ref("scalar"))), "name"))
	cache := mappingSchema(cacheKeys, object{"path": ref("texts"), "key": ref("text"), "restore-keys": ref("texts"), "scope": ref("literal")})
	s := mappingSchema(jobKeys, object{
		"name": ref("scalar"), "if": ref("scalar"), "needs": ref("texts"), "env": ref("textMap"), "outputs": ref("textMap"), "defaults": ref("defaults"),
		"timeout-minutes": ref("number"), "continue-on-error": ref("boolean"), "container": ref("container"), "services": named(ref("service")),
		"runs-on": anyOf(ref("texts"), object{
			"allOf": []object{mappingSchema(runsOnKeys, object{"labels": ref("texts"), "group": ref("text")})}, "minProperties": 1,
		}),
		"strategy":    mappingSchema(strategyKeys, object{"matrix": ref("data"), "fail-fast": ref("boolean"), "max-parallel": ref("number")}),
		"concurrency": ref("concurrency"), "permissions": ref("permissions"), "environment": environment,
		"uses": ref("literal"), "with": ref("textMap"), "secrets": secrets,
		"steps": object{"type": "array", "minItems": 1, "items": ref("step")},
		"pool":  ref("texts"), "resources": resourcesSchema(), "egress": ref("literal"), "retry": retrySchema(),
		"cache": anyOf(cache, object{"type": "array", "items": cache}), "rollout": named(ref("data")),
	})
	var notOfCalls []string
	for _, name := range jobKeys.names {
		if !callKeys[name] {
			notOfCalls = append(notOfCalls, name)
		}
	}
	ofCalls := absent("uses", "with", "secrets")
	s["anyOf"] = []object{
		{"required": []string{"runs-on", "steps"}, "properties": ofCalls},
		{"required": []string{"uses"}, "properties": absent(notOfCalls...)},
		{"required": []string{"rollout"}, "properties": ofCalls},
	}
	return s
}

func resourcesSchema() object {
	return mappingSchema(resourcesKeys, each(resourcesKeys, ref("literal")))
}

func retrySchema() object {
	return mappingSchema(retryKeys, object{"attempts": ref("literal"), "on": ref("texts"), "backoff": ref("literal")})
}

// absent are keys that must not be there.
func absent(names ...string) object {
	all := object{}
	for _, name := range names {
		all[name] = false
	}
	return all
}

func stepSchema() object {
	s := mappingSchema(stepKeys, object{
		"name": ref("scalar"), "id": ref("literal"), "if": ref("scalar"), "run": ref("scalar"), "uses": ref("literal"), "with": ref("textMap"),
		"env": ref("textMap"), "shell": ref("literal"), "working-directory": ref("text"), "continue-on-error": ref("boolean"), "timeout-minutes": ref("number"),
		"image": ref("text"), "resources": resourcesSchema(), "retry": retrySchema(), "reports": mappingSchema(reportsKeys, each(reportsKeys, ref("texts"))),
	})
	s["oneOf"] = []object{
		{"required": []string{"run"}, "properties": absent("uses", "with")},
		{"required": []string{"uses"}, "properties": absent("run", "shell", "working-directory", "image")},
	}
	return s
}

func containerSchema(k keys) object {
	credentials := mappingSchema(credentialsKeys, object{"username": ref("text"), "password": ref("text")})
	return anyOf(ref("text"), required(mappingSchema(k, object{
		"image": ref("text"), "env": ref("textMap"), "ports": ref("list"), "volumes": ref("list"), "options": ref("scalar"), "credentials": credentials,
	}), "image"))
}
