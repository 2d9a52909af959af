package sidecar

import (
	"encoding/json"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// State is what the manager writes down about a sidecar, in v1alpha1.AnnotationSidecarState of its Secret.
type State struct {
	Record
	// Workload that the sidecar belongs to, by UID: one that was made anew has nothing of it.
	Workload string `json:"workload"`
	// Policies are the BackupConfigurations that were looked at, with their generations.
	Policies map[string]int64 `json:"policies,omitempty"`
	// Reason and Message say why the sidecar can't be used, or not yet. Empty: it can.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Encode gives the value of the annotation.
func (s *State) Encode() (string, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode the state of a sidecar: %w", err)
	}
	return string(b), nil
}

// StateOf reads the annotation. What can't be read is as if it were not there: the manager finds it out again.
func StateOf(annotations map[string]string) State {
	var s State
	if err := json.Unmarshal([]byte(annotations[v1alpha1.AnnotationSidecarState]), &s); err != nil {
		return State{}
	}
	return s
}
