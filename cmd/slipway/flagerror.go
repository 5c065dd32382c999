package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// flagError says of a flag's value what is wanted, where the flag library passes on what Go's parsers say.
func flagError(_ *cobra.Command, err error) error {
	var value interface {
		error
		GetValue() string
	}
	if !errors.As(err, &value) {
		return err
	}
	cause := errors.Unwrap(value)
	want := wanted(value.GetValue(), cause)
	if want == "" {
		return err
	}
	return fmt.Errorf("%s: want %s", strings.TrimSuffix(value.Error(), ": "+cause.Error()), want)
}

func wanted(value string, cause error) string {
	var number *strconv.NumError
	switch _, err := time.ParseDuration(value); {
	case cause == nil:
	case errors.As(cause, &number) && number.Func == "ParseBool":
		return "true or false"
	case errors.As(cause, &number) && errors.Is(number.Err, strconv.ErrRange):
		return "a smaller number"
	case errors.As(cause, &number):
		return "a whole number"
	case err != nil && err.Error() == cause.Error():
		return "a time such as 90s, 30m or 2h"
	}
	return ""
}
