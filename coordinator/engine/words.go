package engine

import (
	"strings"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func stateWord(s corev1.RunState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATE_"))
}

func jobStateWord(s corev1.JobState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "JOB_STATE_"))
}

func userFailure(code, message string) *corev1.Failure {
	return &corev1.Failure{Code: code, Fault: corev1.Fault_FAULT_USER, Message: message}
}

func systemFailure(code, message string) *corev1.Failure {
	return &corev1.Failure{Code: code, Fault: corev1.Fault_FAULT_SYSTEM, Message: message}
}
