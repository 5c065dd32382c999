package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth is how deep GitHub's reader follows.
const maxJSONDepth = 100

// FromJSON reads one JSON text. Keys keep their order; of keys that differ only in case the first counts, of a
// key that is there twice the last value.
func FromJSON(text []byte) (Value, error) { return jsonReader{}.text(text) }

// ContextsFromJSON reads a JSON object of contexts, by name. As on Linux, the keys of `env` differ where their case does.
func ContextsFromJSON(text []byte) (*Object, error) {
	v, err := jsonReader{env: true}.text(text)
	if err != nil {
		return nil, err
	}
	if v.Kind() != KindObject {
		return nil, fmt.Errorf("contexts are a JSON object, and this is %s", strings.ToLower(v.Kind().String()))
	}
	return v.Object(), nil
}

// jsonReader reads JSON; with env, the object of that name at the top minds case.
type jsonReader struct{ env bool }

func (r jsonReader) text(text []byte) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := r.value(d, 1, NewObject())
	if errors.Is(err, io.EOF) {
		return Value{}, errors.New("not JSON: it ends before its value does")
	}
	if err != nil {
		return Value{}, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Value{}, errors.New("not JSON: something follows the value")
	}
	return v, nil
}

// value reads one value; an object's properties go into o.
func (r jsonReader) value(d *json.Decoder, depth int, o *Object) (Value, error) {
	token, err := d.Token()
	if err != nil {
		return Value{}, err
	}
	switch t := token.(type) {
	case nil:
		return Null(), nil
	case bool:
		return Bool(t), nil
	case string:
		return String(t), nil
	case json.Number:
		n, err := strconv.ParseFloat(t.String(), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return Value{}, err
		}
		return Number(n), nil
	case json.Delim:
		if depth > maxJSONDepth {
			return Value{}, fmt.Errorf("it is nested deeper than %d", maxJSONDepth)
		}
		if t == '[' {
			return r.array(d, depth)
		}
		return r.object(d, depth, o)
	}
	return Value{}, fmt.Errorf("unexpected %v", token)
}

func (r jsonReader) array(d *json.Decoder, depth int) (Value, error) {
	items := []Value{}
	for d.More() {
		item, err := r.value(d, depth+1, NewObject())
		if err != nil {
			return Value{}, err
		}
		items = append(items, item)
	}
	_, err := d.Token()
	return Array(items), err
}

func (r jsonReader) object(d *json.Decoder, depth int, o *Object) (Value, error) {
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return Value{}, err
		}
		key, ok := token.(string)
		if !ok {
			return Value{}, fmt.Errorf("unexpected %v for a key", token)
		}
		inner := NewObject()
		if r.env && depth == 1 && strings.EqualFold(key, "env") {
			inner = NewCaseSensitiveObject()
		}
		item, err := r.value(d, depth+1, inner)
		if err != nil {
			return Value{}, err
		}
		if i := o.find(key); i < 0 || o.pairs[i].Key == key {
			o.Set(key, item)
		}
	}
	_, err := d.Token()
	return o.Value(), err
}

// ToJSON writes v in one line for other packages to read back with FromJSON: numbers keep every digit; NaN and the
// infinities, which JSON has not, become null.
func ToJSON(v Value) string {
	w := jsonWriter{}
	w.write(v, 0)
	return w.b.String()
}

// ExactJSON writes v in one line and leaves nothing out: what JSON has no number for becomes {"number": "NaN"}, or
// "Infinity", or "-Infinity", wherever it stands. Negative zero is 0, as the language prints it.
func ExactJSON(v Value) string {
	w := jsonWriter{exact: true}
	w.write(v, 0)
	return w.b.String()
}

// PrettyJSON is the toJSON function: two spaces a level, numbers as text has them, no HTML escaping.
func PrettyJSON(v Value) string {
	w := jsonWriter{pretty: true}
	w.write(v, 0)
	return w.b.String()
}

type jsonWriter struct {
	b      strings.Builder
	pretty bool
	exact  bool
	// limit stops the writing when more bytes than this stand in b; 0 is no limit.
	limit int
}

func (w *jsonWriter) full() bool { return w.limit > 0 && w.b.Len() > w.limit }

func (w *jsonWriter) newline(level int) {
	if !w.pretty {
		return
	}
	w.b.WriteByte('\n')
	for range level {
		w.b.WriteString("  ")
	}
}

func (w *jsonWriter) write(v Value, level int) {
	if w.full() {
		return
	}
	switch v.kind {
	case KindNull:
		w.b.WriteString("null")
	case KindBool:
		w.b.WriteString(v.Text())
	case KindNumber:
		w.writeNumber(v.num)
	case KindString:
		writeJSONString(&w.b, v.str)
	case KindArray:
		w.writeArray(v.arr.items, level)
	case KindObject:
		w.writeObject(v.obj.pairs, level)
	}
}

func (w *jsonWriter) writeNumber(n float64) {
	switch {
	case w.pretty:
		w.b.WriteString(FormatNumber(n))
	case math.IsNaN(n) || math.IsInf(n, 0):
		if w.exact {
			w.b.WriteString(`{"number":"` + FormatNumber(n) + `"}`)
			return
		}
		w.b.WriteString("null")
	case w.exact && n == 0:
		w.b.WriteByte('0')
	default:
		w.b.WriteString(shortest(n))
	}
}

// shortest writes n with as many digits as tell it apart from all other numbers, with an exponent where JavaScript has one.
func shortest(n float64) string {
	if abs := math.Abs(n); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.FormatFloat(n, 'e', -1, 64)
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func (w *jsonWriter) writeArray(items []Value, level int) {
	w.b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.newline(level + 1)
		w.write(item, level+1)
		if w.full() {
			return
		}
	}
	if len(items) > 0 {
		w.newline(level)
	}
	w.b.WriteByte(']')
}

func (w *jsonWriter) writeObject(pairs []Pair, level int) {
	w.b.WriteByte('{')
	for i, p := range pairs {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.newline(level + 1)
		writeJSONString(&w.b, p.Key)
		w.b.WriteByte(':')
		if w.pretty {
			w.b.WriteByte(' ')
		}
		w.write(p.Value, level+1)
		if w.full() {
			return
		}
	}
	if len(pairs) > 0 {
		w.newline(level)
	}
	w.b.WriteByte('}')
}

// writeJSONString escapes what JSON asks for, and the three line separators that GitHub's writer escapes too.
func writeJSONString(b *strings.Builder, s string) {
	b.WriteByte('"')
	start := 0
	for i, r := range s {
		escape := jsonEscape(r)
		if escape == "" {
			continue
		}
		b.WriteString(s[start:i])
		b.WriteString(escape)
		start = i + utf8.RuneLen(r)
	}
	b.WriteString(s[start:])
	b.WriteByte('"')
}

func jsonEscape(r rune) string {
	switch r {
	case '"':
		return `\"`
	case '\\':
		return `\\`
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	if r < 0x20 || r == 0x85 || r == 0x2028 || r == 0x2029 {
		return fmt.Sprintf(`\u%04x`, r)
	}
	return ""
}
