package evaluate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-ci/slipway/pipeline/expr"
)

// maxLine is the longest line that Batch reads, in bytes: an expression of the greatest length, all of it escaped.
const maxLine = 1 << 20

// Batch answers each line of in, a JSON string that is an expression, with a line of JSON on out: its value and text, or
// its error. A line that is no JSON string gets an error, not an end. Answers are written as soon as no further complete
// line waits, so that in and out may be one conversation. It returns errors of in and out only.
func (e *Evaluator) Batch(in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	w := bufio.NewWriter(out)
	for ended := false; !ended; {
		line, tooLong, err := readLine(r)
		if ended = errors.Is(err, io.EOF); err != nil && !ended {
			return errors.Join(fmt.Errorf("reading expressions: %w", err), w.Flush())
		}
		if len(line) > 0 || !ended {
			if _, werr := w.Write(append(e.answer(line, tooLong), '\n')); werr != nil {
				return werr
			}
		}
		if ended || !lineWaits(r) {
			if werr := w.Flush(); werr != nil {
				return werr
			}
		}
	}
	return nil
}

// lineWaits reports whether the next line can be read without waiting for more input.
func lineWaits(r *bufio.Reader) bool {
	waiting, err := r.Peek(r.Buffered())
	return err == nil && bytes.IndexByte(waiting, '\n') >= 0
}

// readLine reads to the next line feed, and no more than maxLine bytes of what it returns.
func readLine(r *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			tooLong = true
			part = part[:min(len(part), maxLine-len(line))]
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, tooLong, err
		}
	}
}

type answerError struct {
	Message string `json:"message"`
	Column  int    `json:"column"`
}

func (e *Evaluator) answer(line []byte, tooLong bool) []byte {
	if tooLong {
		return encodeError(&Failure{Message: fmt.Sprintf("the line is longer than %d bytes", maxLine), Column: 1})
	}
	var src *string
	if err := json.Unmarshal(line, &src); err != nil || src == nil {
		return encodeError(&Failure{Message: "the line is not a JSON string: each line holds one expression, in double quotes", Column: 1})
	}
	v, err := e.Eval(*src)
	var f *Failure
	if errors.As(err, &f) {
		return encodeError(f)
	}
	return fmt.Appendf(nil, `{"value":%s,"string":%s}`, expr.ExactJSON(v), expr.ExactJSON(expr.String(v.Text())))
}

func encodeError(f *Failure) []byte {
	if f.Hint != "" {
		f.Message += " (" + f.Hint + ")"
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	// A struct of texts and a number always encodes.
	_ = encoder.Encode(map[string]answerError{"error": {f.Message, f.Column}}) //nolint:errcheck // see above
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
