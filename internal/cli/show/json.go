// Package show renders what the API answers: as text for people, as JSON for tools.
package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Format is the value of `-o`.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
	// SARIF is for findings only.
	SARIF Format = "sarif"
)

// ParseFormat checks the value of `-o`.
func ParseFormat(s string) (Format, error) {
	if f := Format(s); f == Text || f == JSON {
		return f, nil
	}
	return "", fmt.Errorf("unknown output format %q: want text or json", s)
}

var marshal = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// encode is the message's JSON mapping with the field names of the .proto files. protojson varies its white space on
// purpose; here the output is the same every time.
func encode(m proto.Message) (json.RawMessage, error) {
	raw, err := marshal.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding JSON: %w", err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, fmt.Errorf("encoding JSON: %w", err)
	}
	return b.Bytes(), nil
}

// Message writes one message as indented JSON.
func Message(w io.Writer, m proto.Message) error {
	raw, err := encode(m)
	if err != nil {
		return err
	}
	return Value(w, raw)
}

// List writes messages as an indented JSON array.
func List[M proto.Message](w io.Writer, all []M) error {
	out := make([]json.RawMessage, 0, len(all))
	for _, m := range all {
		raw, err := encode(m)
		if err != nil {
			return err
		}
		out = append(out, raw)
	}
	return Value(w, out)
}

// Value writes any value as indented JSON.
func Value(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
