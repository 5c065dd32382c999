// Package commands reads what steps say to the agent: the file commands (GITHUB_OUTPUT, GITHUB_ENV, GITHUB_PATH,
// GITHUB_STATE) and the workflow commands in their output (`::error::…`). Pure: text in, values out.
package commands

import (
	"fmt"
	"strings"
)

// MaxPairs bounds the values of one file command.
const MaxPairs = 20_000

// Pair is one name with its value, as a file command or `::set-output` gives it.
type Pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// FormatError says which line of a file command can't be read. The texts are those of GitHub's runner.
type FormatError struct {
	// File is the variable's name, e.g. GITHUB_OUTPUT.
	File string
	// Line from 1.
	Line   int
	Reason string
}

// quoted is how long a line may be that an error repeats, in bytes.
const quoted = 200

// quote is a line as an error repeats it: whole or not at all, since a part of a secret would not be recognised and hidden.
func quote(line string) string {
	if len(line) <= quoted {
		return line
	}
	return fmt.Sprintf("… (%d bytes)", len(line))
}

// text is what a step wrote, as GitHub's runner reads it: what is not UTF-8 becomes U+FFFD.
func text(data []byte) string {
	return strings.ToValidUTF8(strings.TrimPrefix(string(data), "\uFEFF"), "\uFFFD")
}

// Merge sets the pairs of more in list, by name: a name keeps its first place and gets its last value. list may be changed.
func Merge(list []Pair, more ...Pair) []Pair {
	at := make(map[string]int, len(list)+len(more))
	for i, p := range list {
		at[p.Name] = i
	}
	for _, p := range more {
		if i, ok := at[p.Name]; ok {
			list[i] = p
			continue
		}
		at[p.Name] = len(list)
		list = append(list, p)
	}
	return list
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("Unable to process file command '%s' successfully. Line %d: %s",
		strings.ToLower(strings.TrimPrefix(e.File, "GITHUB_")), e.Line, e.Reason)
}

// ParsePairs reads NAME=VALUE lines and NAME<<DELIMITER heredocs: whichever of `=` and `<<` comes first in a line
// decides, the delimiter is compared exactly, empty lines between pairs are skipped, of several values of a name the last
// one counts. file names the variable in errors, which are *FormatError.
func ParsePairs(file string, data []byte) ([]Pair, error) {
	r := lineReader{text: text(data)}
	var pairs []Pair
	for {
		line, ok := r.next()
		if !ok {
			return Merge(nil, pairs...), nil
		}
		if line == "" {
			continue
		}
		at := r.line
		fail := func(format string, args ...any) ([]Pair, error) {
			return nil, &FormatError{File: file, Line: at, Reason: fmt.Sprintf(format, args...)}
		}
		if len(pairs) >= MaxPairs {
			return fail("more than %d values; put large things into a file", MaxPairs)
		}
		eq, here := strings.Index(line, "="), strings.Index(line, "<<")
		switch {
		case here >= 0 && (eq < 0 || here < eq):
			name, delimiter := line[:here], line[here+2:]
			if name == "" || delimiter == "" {
				return fail("Invalid format '%s'. Name must not be empty and delimiter must not be empty", quote(line))
			}
			value, ok := r.heredoc(delimiter)
			if !ok {
				return fail("Invalid value. Matching delimiter not found '%s'", quote(delimiter))
			}
			pairs = append(pairs, Pair{name, value})
		case eq > 0:
			pairs = append(pairs, Pair{line[:eq], line[eq+1:]})
		case eq == 0:
			return fail("Invalid format '%s'. Name must not be empty", quote(line))
		default:
			return fail("Invalid format '%s'", quote(line))
		}
	}
}

// ParseEnv is ParsePairs for GITHUB_ENV, which refuses NODE_OPTIONS: it would make every later node process run a step's code.
func ParseEnv(data []byte) ([]Pair, error) {
	pairs, err := ParsePairs("GITHUB_ENV", data)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		if strings.EqualFold(p.Name, "NODE_OPTIONS") {
			return nil, fmt.Errorf("Can't store %s output parameter using '$GITHUB_ENV' command.", p.Name) //nolint:staticcheck,revive // GitHub's text
		}
		if strings.ContainsRune(p.Name, 0) || strings.ContainsRune(p.Value, 0) {
			return nil, &FormatError{File: "GITHUB_ENV", Line: 1, Reason: "an environment variable can't hold a NUL character"}
		}
	}
	return pairs, nil
}

// ParsePaths reads GITHUB_PATH: one directory a line, in the order written. The caller puts the latest first.
func ParsePaths(data []byte) []string {
	r := lineReader{text: text(data)}
	var paths []string
	for {
		line, ok := r.next()
		if !ok {
			return paths
		}
		if line = strings.TrimSuffix(line, "\r"); line != "" {
			paths = append(paths, line)
		}
	}
}

// lineReader splits at line feeds only: a carriage return belongs to its line, as on GitHub's Linux runners.
type lineReader struct {
	text string
	pos  int
	line int
}

func (r *lineReader) next() (line string, ok bool) {
	if r.pos >= len(r.text) {
		return "", false
	}
	r.line++
	rest := r.text[r.pos:]
	if i := strings.IndexByte(rest, '\n'); i >= 0 {
		r.pos += i + 1
		return rest[:i], true
	}
	r.pos = len(r.text)
	return rest, true
}

// heredoc returns the text up to the line that is the delimiter, without the line feed before it.
func (r *lineReader) heredoc(delimiter string) (string, bool) {
	start := r.pos
	for {
		end := r.pos
		line, ok := r.next()
		if !ok {
			return "", false
		}
		if line == delimiter {
			return r.text[start:max(start, end-1)], true
		}
	}
}
