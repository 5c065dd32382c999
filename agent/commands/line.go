package commands

import (
	"strconv"
	"strings"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// MaxLine is how many bytes of a line are looked at for a command; a longer line is output like any other, but for one
// that would hide a value.
const MaxLine = 64 << 10

// Command is one workflow command, unescaped. All of it is valid UTF-8, but for the value of add-mask: what is to be hidden
// is the bytes that the step prints.
type Command struct {
	Name       string
	Properties map[string]string
	Value      string
}

var (
	unescapeData     = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%", "%0d", "\r", "%0a", "\n")
	unescapeProperty = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%", "%0d", "\r", "%0a", "\n", "%3a", ":", "%2c", ",")
)

// ParseLine reads `::name key=value,…::text`; white space before it is allowed, anything else means no command.
func ParseLine(line string) (Command, bool) {
	line = strings.TrimSuffix(strings.TrimLeft(line, " \t"), "\r")
	rest, ok := strings.CutPrefix(line, "::")
	if !ok {
		return Command{}, false
	}
	head, value, ok := strings.Cut(rest, "::")
	if !ok {
		return Command{}, false
	}
	name, properties, _ := strings.Cut(head, " ")
	if name == "" {
		return Command{}, false
	}
	c := Command{Name: strings.ToLower(strings.ToValidUTF8(name, "\uFFFD")), Properties: map[string]string{}, Value: unescapeData.Replace(value)}
	if c.Name != "add-mask" {
		c.Value = strings.ToValidUTF8(c.Value, "\uFFFD")
	}
	for _, p := range strings.Split(strings.ToValidUTF8(properties, "\uFFFD"), ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(p), "="); ok && k != "" {
			c.Properties[strings.ToLower(k)] = unescapeProperty.Replace(v)
		}
	}
	return c, true
}

// CouldBegin says whether a line that begins with these bytes may still turn out to be a command.
func CouldBegin(begin []byte) bool {
	for len(begin) > 0 && (begin[0] == ' ' || begin[0] == '\t') {
		begin = begin[1:]
	}
	switch {
	case len(begin) == 0:
		return true
	case len(begin) == 1:
		return begin[0] == ':'
	default:
		return begin[0] == ':' && begin[1] == ':'
	}
}

// Annotation returns what ::error, ::warning and ::notice say; ok is false for every other command.
func (c Command) Annotation() (a *corev1.Annotation, ok bool) {
	switch c.Name {
	case "error", "warning", "notice":
	default:
		return nil, false
	}
	return &corev1.Annotation{
		Level: c.Name, Message: c.Value, Title: c.Properties["title"], File: c.Properties["file"],
		Line: number(c.Properties["line"]), Column: number(c.Properties["col"]),
	}, true
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// Masks returns the parts of a value that are hidden each: the value as it is, and each of its lines without the space
// around it, none of them blank.
func Masks(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	out := []string{value}
	for _, line := range strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); line != "" && line != value {
			out = append(out, line)
		}
	}
	return out
}
