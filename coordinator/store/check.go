package store

import (
	"errors"
	"fmt"
)

// MaxTxnBytes bounds the keys and values of a transaction: an etcd takes 1.5 MiB by default, all counted.
const MaxTxnBytes = 5 << 18

// ErrInvalid: the transaction breaks the contract (no key, a key written twice, too large); it did nothing and never will.
var ErrInvalid = errors.New("store: invalid transaction")

// Check says whether a transaction keeps the contract; the error wraps ErrInvalid. Every implementation calls it first, so that
// all of them refuse the same things.
func (t Txn) Check() error {
	if err := checkCompares(t.Fence); err != nil {
		return err
	}
	written := map[string]bool{}
	var spans []Op
	size := 0
	for _, b := range t.Branches {
		if err := checkCompares(b.Compares); err != nil {
			return err
		}
		for _, op := range b.Ops {
			if op.Key == "" {
				return fmt.Errorf("%w: an operation without a key", ErrInvalid)
			}
			if written[op.Key] {
				return fmt.Errorf("%w: key %q is written twice", ErrInvalid, op.Key)
			}
			written[op.Key] = true
			if op.To != "" {
				if !op.Delete || op.To <= op.Key {
					return fmt.Errorf("%w: the operation on %q to %q is not a deletion of a range", ErrInvalid, op.Key, op.To)
				}
				spans = append(spans, op)
			}
			size += len(op.Key) + len(op.Value)
		}
	}
	for _, span := range spans {
		for key := range written {
			if key > span.Key && key < span.To {
				return fmt.Errorf("%w: key %q is in a deleted range too", ErrInvalid, key)
			}
		}
	}
	if size > MaxTxnBytes {
		return fmt.Errorf("%w: it writes %d bytes, more than %d", ErrInvalid, size, MaxTxnBytes)
	}
	return nil
}

func checkCompares(cs []Compare) error {
	for _, c := range cs {
		if c.Key == "" {
			return fmt.Errorf("%w: a compare without a key", ErrInvalid)
		}
	}
	return nil
}

// PrefixEnd returns the end of the range of all keys that begin with prefix.
func PrefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}
