package task

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// Outcome is how a mover ended.
type Outcome string

// The values of Outcome.
const (
	OutcomeSucceeded Outcome = "Succeeded"
	OutcomeFailed    Outcome = "Failed"
	// OutcomeUnknown is the outcome of a restored component that could not be verified.
	OutcomeUnknown Outcome = "Unknown"
)

// MaxResultBytes is how much the kubelet keeps of a termination message.
const MaxResultBytes = 4096

// Result is the mover's answer, sent as its termination message. It holds neither a credential nor the name of a user's
// file.
type Result struct {
	// Version of this JSON.
	Version int `json:"version"`
	// Outcome of the whole Job: Succeeded only if every component succeeded.
	Outcome Outcome `json:"outcome"`
	// Reason is a constant of the API.
	Reason string `json:"reason,omitempty"`
	// Message explains what happened and what to do.
	Message string `json:"message,omitempty"`
	// Components that the mover worked on.
	Components []ComponentResult `json:"components,omitempty"`
	// Omitted is the number of components that did not fit.
	Omitted int `json:"omitted,omitempty"`
}

// ComponentResult is how one component went. Its JSON names are short because all components share 4096 bytes.
type ComponentResult struct {
	v1alpha1.ComponentCounts `json:",inline"`
	Steps                    `json:",inline"`

	Name                  string       `json:"name"`
	Outcome               Outcome      `json:"outcome"`
	ID                    string       `json:"id,omitempty"`
	Path                  string       `json:"path,omitempty"`
	SizeBytes             int64        `json:"size,omitempty"`
	UploadedBytes         int64        `json:"up,omitempty"`
	OwnersNotRestored     int64        `json:"owners,omitempty"`
	AttributesNotRestored int64        `json:"attrs,omitempty"`
	DevicesNotRestored    int64        `json:"devices,omitempty"`
	LinksNotRestored      int64        `json:"links,omitempty"`
	ExtraKept             int64        `json:"extra,omitempty"`
	UnmatchedPatterns     []string     `json:"unmatched,omitempty"`
	Overwritten           int64        `json:"over,omitempty"`
	Kept                  int64        `json:"kept,omitempty"`
	Deleted               int64        `json:"deleted,omitempty"`
	Verified              int64        `json:"verified,omitempty"`
	Different             int64        `json:"different,omitempty"`
	Damaged               []int        `json:"damaged,omitempty"`
	Scan                  *Scan        `json:"scan,omitempty"`
	TargetEmpty           bool         `json:"empty,omitempty"`
	TargetWritten         bool         `json:"written,omitempty"`
	TargetUntouched       bool         `json:"untouched,omitempty"`
	StartTime             *metav1.Time `json:"start,omitempty"`
	CompletionTime        *metav1.Time `json:"end,omitempty"`
	Duration              string       `json:"took,omitempty"`
	Reason                string       `json:"reason,omitempty"`
	Error                 string       `json:"error,omitempty"`
}

// EncodeResult returns the Result's JSON in at most MaxResultBytes. It cuts texts first, then leaves out components
// from the end and counts them in Omitted.
func EncodeResult(r Result) ([]byte, error) {
	r.Version = Version
	for _, limit := range []int{1024, 256, 64, 0} {
		if b, err := encodeShort(r, limit); err != nil || len(b) <= MaxResultBytes {
			return b, err
		}
	}
	for len(r.Components) > 0 {
		r.Components, r.Omitted = r.Components[:len(r.Components)-1], r.Omitted+1
		if b, err := encodeShort(r, 0); err != nil || len(b) <= MaxResultBytes {
			return b, err
		}
	}
	return nil, fmt.Errorf("encode result: the reason has %d bytes", len(r.Reason))
}

// encodeShort cuts each text to limit bytes; the Result's own message keeps at least 128.
func encodeShort(r Result, limit int) ([]byte, error) {
	r.Message = text.Cut(r.Message, max(limit, 128))
	short := make([]ComponentResult, len(r.Components))
	for i, c := range r.Components {
		c.Error = text.Cut(c.Error, limit)
		if limit < 256 {
			c.UnmatchedPatterns = nil // the status of the component has them
		}
		c.Steps = c.Steps.cut(limit)
		if limit == 0 {
			c.Path, c.LeftPlaces = "", nil
		}
		short[i] = c
	}
	r.Components = short
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return b, nil
}

// DecodeResult reads a termination message. A message of another program, or a cut message, is an error. A pod can be
// made to report anything, so DecodeResult brings each value within the limits of the API (bounds.go).
func DecodeResult(message string) (*Result, error) {
	var r Result
	if err := json.Unmarshal([]byte(message), &r); err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	if r.Version != Version || r.Outcome != OutcomeSucceeded && r.Outcome != OutcomeFailed {
		return nil, fmt.Errorf("decode result: version %d, outcome %q", r.Version, r.Outcome)
	}
	r.limit()
	return &r, nil
}

// Component returns the result in the form of a Snapshot's status.
func (c ComponentResult) Component(driver v1alpha1.Driver) v1alpha1.Component {
	out := v1alpha1.Component{
		Phase: v1alpha1.SnapshotFailed, Path: c.Path, Driver: driver, ID: c.ID,
		SizeBytes: c.SizeBytes, UploadedBytes: c.UploadedBytes, ComponentCounts: c.ComponentCounts,
		UnmatchedPatterns: c.UnmatchedPatterns,
		StartTime:         c.StartTime, CompletionTime: c.CompletionTime, Duration: c.Duration,
		Reason: c.Reason, Error: c.Error,
	}
	if c.Outcome == OutcomeSucceeded {
		out.Phase = v1alpha1.SnapshotSucceeded
		out.Size, out.Uploaded = FormatSize(c.SizeBytes), FormatSize(c.UploadedBytes)
	}
	return out
}

// Restored returns the result in the form of a RestoreSession's status.
func (c ComponentResult) Restored() v1alpha1.RestoredComponent {
	out := v1alpha1.RestoredComponent{
		Phase: v1alpha1.RestoreSessionFailed, ID: c.ID,
		SizeBytes: c.SizeBytes, Files: c.Files,
		Overwritten: c.Overwritten, Kept: c.Kept, Deleted: c.Deleted, Verified: c.Verified, Different: c.Different,
		OwnersNotRestored: c.OwnersNotRestored, AttributesNotRestored: c.AttributesNotRestored,
		DevicesNotRestored: c.DevicesNotRestored, LinksNotRestored: c.LinksNotRestored,
		ExtraKept: c.ExtraKept, UnmatchedPatterns: c.UnmatchedPatterns,
		TargetEmpty: c.TargetEmpty, TargetWritten: c.TargetWritten, TargetUntouched: c.TargetUntouched,
		StartTime: c.StartTime, CompletionTime: c.CompletionTime, Duration: c.Duration,
		Reason: c.Reason, Error: c.Error,
	}
	switch c.Outcome {
	case OutcomeSucceeded:
		out.Phase = v1alpha1.RestoreSessionSucceeded
	case OutcomeUnknown:
		out.Phase = v1alpha1.RestoreSessionUnknown
	}
	if c.Outcome != OutcomeFailed {
		out.Size = FormatSize(c.SizeBytes)
	}
	return out
}

// FormatSize formats a number of bytes like KubeStash, for example "12.222 MiB": three decimals of the largest of KiB,
// MiB, GiB and TiB that is strictly smaller than the number, so that 1024 bytes are "1024 B".
func FormatSize(n int64) string {
	const units = "KMGT"
	for i := len(units); i > 0; i-- {
		if unit := int64(1) << (10 * i); n > unit {
			return fmt.Sprintf("%.3f %ciB", float64(n)/float64(unit), units[i-1])
		}
	}
	return fmt.Sprintf("%d B", n)
}
