package sidecar

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// State is what the manager records about a sidecar, in v1alpha1.AnnotationSidecarState of the sidecar's Secret.
type State struct {
	Record
	// Workload is the UID of the sidecar's workload. The state does not apply to a new workload with the same name.
	Workload string `json:"workload"`
	// Policies are the BackupConfigurations that the manager took into account, with their generations.
	Policies map[string]int64 `json:"policies,omitempty"`
	// Reason and Message explain why the sidecar cannot be used, or not yet; empty if it can.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Refuse records why the sidecar cannot be used, or not yet. The first reason counts.
func (s *State) Refuse(reason, format string, args ...any) {
	if s.Reason == "" {
		s.Reason, s.Message = reason, fmt.Sprintf(format, args...)
	}
}

// Applied records that the sidecar was applied, and what the workload then had. rollout reports that this begins a
// rollout.
func (s *State) Applied(settings *Settings, image string, f Found, rollout bool) {
	s.Record = Record{
		Settings: settings.Digest(), Image: image, Theirs: f.Theirs, Ours: f.Ours,
		RolledOut: s.RolledOut && !rollout, Restored: s.Restored,
	}
}

// News reports whether the BackupConfigurations of the sidecar must hear of the state, because it differs from before.
func (s *State) News(before State) bool {
	return s.Reason != before.Reason || s.Message != before.Message || !maps.Equal(s.Policies, before.Policies)
}

// Encode returns the value of the annotation.
func (s *State) Encode() (string, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode the state of a sidecar: %w", err)
	}
	return string(b), nil
}

// StateOf reads the annotation. It ignores an unreadable value: the manager finds everything out again.
func StateOf(annotations map[string]string) State {
	var s State
	if err := json.Unmarshal([]byte(annotations[v1alpha1.AnnotationSidecarState]), &s); err != nil {
		return State{}
	}
	return s
}
