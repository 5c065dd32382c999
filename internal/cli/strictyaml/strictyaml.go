// Package strictyaml reads the CLI's own YAML files, and says what is wrong with one in the words of who wrote it.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Decode reads src into into. Keys that into has no place for are errors; nothing at all is none. path is for messages.
func Decode(path string, src []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(src))
	dec.KnownFields(true)
	err := dec.Decode(into)
	var types *yaml.TypeError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &types):
		var all []error
		for _, text := range types.Errors {
			all = append(all, errors.New(located(path, misfit(text))))
		}
		return errors.Join(all...)
	}
	return errors.New(located(path, strings.TrimPrefix(err.Error(), "yaml: ")) + " (this is not YAML)")
}

var line = regexp.MustCompile(`^line (\d+): `)

// located puts the file, and the line that the library names, in front.
func located(path, text string) string {
	if m := line.FindStringSubmatch(text); m != nil {
		return path + ":" + m[1] + ": " + strings.TrimPrefix(text, m[0])
	}
	return path + ": " + text
}

var (
	unknown = regexp.MustCompile(`^(line \d+: )field (.+) not found in type .+$`)
	other   = regexp.MustCompile("^(line \\d+: )cannot unmarshal !!(\\S+)(?: `(.*)`)? into (.+)$")
)

// misfit says in this file's terms what the library says in those of Go. What it does not know it leaves.
func misfit(text string) string {
	if m := unknown.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%sunknown key `%s`", m[1], m[2])
	}
	m := other.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	is := "`" + m[3] + "`"
	switch m[2] {
	case "seq":
		is = "a list"
	case "map":
		is = "a mapping"
	}
	return fmt.Sprintf("%s%s stands where %s belongs", m[1], is, wanted(m[4]))
}

func wanted(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"), strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "bool":
		return "true or false"
	case goType == "string":
		return "a text"
	case goType == "time.Duration":
		return "a time such as 5m"
	}
	return "a mapping"
}
