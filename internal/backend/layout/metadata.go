package layout

import (
	"fmt"
	"time"

	"sigs.k8s.io/yaml"
)

// formatVersion is the version of the files that this package writes. A reader refuses higher versions.
const formatVersion = 1

// API version and kinds of the files.
const (
	apiVersion     = "storage.cairn.dev/v1"
	kindStorage    = "StorageMetadata"
	kindRepository = "RepositoryMetadata"
	kindComponent  = "ComponentResult"
	kindRemoval    = "Removal"
)

// Header is the beginning of each file.
type Header struct {
	APIVersion    string `json:"apiVersion"`
	Kind          string `json:"kind"`
	FormatVersion int    `json:"formatVersion"`
}

// StorageMetadata says who owns a storage.
type StorageMetadata struct {
	Header `json:",inline"`
	// UID is that of the BackupStorage which has initialised the storage. It outlives clusters.
	UID string `json:"uid"`
	// Namespace and Name are those of that BackupStorage. One that is made again has them, and another UID.
	Namespace  string    `json:"namespace,omitempty"`
	Name       string    `json:"name,omitempty"`
	Cluster    string    `json:"cluster"` // the cluster's name, for people
	ClusterUID string    `json:"clusterUID"`
	Created    time.Time `json:"created"`
}

// AppRef names what is backed up.
type AppRef struct {
	APIGroup  string `json:"apiGroup,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// RepositoryMetadata says who owns a directory of a storage and what is in it.
type RepositoryMetadata struct {
	Header              `json:",inline"`
	Driver              string    `json:"driver"` // Kopia
	AppRef              AppRef    `json:"appRef"`
	ClusterUID          string    `json:"clusterUID"`
	RepositoryUID       string    `json:"repositoryUID"`
	RepositoryNamespace string    `json:"repositoryNamespace"`
	RepositoryName      string    `json:"repositoryName"`
	Created             time.Time `json:"created"` // by this owner; an adoption counts as a creation
	// KeyID says which encryption key is needed. It is neither the key nor derived from it in a way that helps to
	// guess it.
	KeyID string `json:"keyID"`
}

// ComponentResult says how the backup of one component of a Snapshot ended. From the results of all components, a
// Snapshot can be rebuilt without a cluster. It holds no name of a user's file.
type ComponentResult struct {
	Header      `json:",inline"`
	Snapshot    string `json:"snapshot"`
	SnapshotUID string `json:"snapshotUID"`
	Component   string `json:"component"`
	Phase       string `json:"phase"`          // Succeeded or Failed
	ID          string `json:"id,omitempty"`   // of the engine's snapshot
	Path        string `json:"path,omitempty"` // the path backed up, or the stream's file name
	Size        int64  `json:"size"`           // bytes
	Uploaded    int64  `json:"uploaded"`       // bytes sent by this run
	Files       int64  `json:"files"`
	// The backup misses Unreadable entries and AttributesUnreadable attributes. Changed entries can be inconsistent.
	// What moved to one of Restless directories can be missing.
	Unreadable           int64 `json:"unreadable,omitempty"`
	AttributesUnreadable int64 `json:"attributesUnreadable,omitempty"`
	Changed              int64 `json:"changed,omitempty"`
	Restless             int64 `json:"restless,omitempty"`

	Start  time.Time `json:"start"`
	End    time.Time `json:"end"`
	Reason string    `json:"reason,omitempty"` // of a failure, in one word
	Error  string    `json:"error,omitempty"`

	// Of describes the Snapshot. All its components say the same, but HalfRestored is missing where an earlier version
	// made them.
	Of SnapshotMetadata `json:"of,omitzero"`
}

// SnapshotMetadata says what a Snapshot is a backup of, and how many components it has when it is complete.
type SnapshotMetadata struct {
	SnapshotID    string            `json:"snapshotID"`
	Session       string            `json:"session"`
	BackupSession string            `json:"backupSession"`
	AppRef        AppRef            `json:"appRef"`
	Labels        map[string]string `json:"labels,omitempty"`
	// HalfRestored names the RestoreSession that had left the target half written. Earlier versions did not write it.
	HalfRestored string `json:"halfRestored,omitempty"`
	Components   int32  `json:"components"`
}

// Removal remembers a removed Snapshot. What an engine has deleted can come back while others write, and is then
// deleted again.
type Removal struct {
	Header      `json:",inline"`
	Snapshot    string    `json:"snapshot"`
	SnapshotUID string    `json:"snapshotUID"`
	IDs         []string  `json:"ids,omitempty"` // of the engine's snapshots
	Seen        time.Time `json:"seen"`          // when they were last seen
}

// Marshal returns the content of the file. Times are in UTC.
func (m Removal) Marshal() ([]byte, error) {
	m.Header, m.Seen = header(kindRemoval), m.Seen.UTC()
	return yaml.Marshal(m)
}

// ParseRemoval reads what Removal.Marshal wrote and refuses unknown fields.
func ParseRemoval(b []byte) (m Removal, err error) {
	if err = parse(b, kindRemoval, &m); err == nil {
		err = required(kindRemoval, "snapshotUID", m.SnapshotUID)
	}
	return m, err
}

// Marshal returns the content of the file. Times are in UTC.
func (m StorageMetadata) Marshal() ([]byte, error) {
	m.Header, m.Created = header(kindStorage), m.Created.UTC()
	return yaml.Marshal(m)
}

// Consent returns the words that allow somebody else to adopt the directory from this owner. They never mean another
// owner, nor the same one after it has lost the directory and got it back.
func (m RepositoryMetadata) Consent(directory string) string {
	return ConsentTo(directory, fmt.Sprintf("%s/%s/%d", m.ClusterUID, m.RepositoryUID, m.Created.UnixMilli()))
}

// ConsentTo returns the words that allow somebody to adopt a directory from an owner.
func ConsentTo(directory, owner string) string { return directory + "@" + owner }

// Marshal returns the content of the file. Times are in UTC.
func (m RepositoryMetadata) Marshal() ([]byte, error) {
	m.Header, m.Created = header(kindRepository), m.Created.UTC()
	return yaml.Marshal(m)
}

// Marshal returns the content of the file. Times are in UTC.
func (m ComponentResult) Marshal() ([]byte, error) {
	m.Header, m.Start, m.End = header(kindComponent), m.Start.UTC(), m.End.UTC()
	return yaml.Marshal(m)
}

func header(kind string) Header {
	return Header{APIVersion: apiVersion, Kind: kind, FormatVersion: formatVersion}
}

// ParseStorageMetadata reads what StorageMetadata.Marshal wrote and refuses unknown fields.
func ParseStorageMetadata(b []byte) (m StorageMetadata, err error) {
	if err = parse(b, kindStorage, &m); err == nil {
		err = required(kindStorage, "uid", m.UID, "clusterUID", m.ClusterUID)
	}
	return m, err
}

// ParseRepositoryMetadata reads what RepositoryMetadata.Marshal wrote and refuses unknown fields.
func ParseRepositoryMetadata(b []byte) (m RepositoryMetadata, err error) {
	if err = parse(b, kindRepository, &m); err == nil {
		err = required(kindRepository, "driver", m.Driver, "clusterUID", m.ClusterUID, "repositoryUID", m.RepositoryUID)
	}
	return m, err
}

// ParseComponentResult reads what ComponentResult.Marshal wrote and refuses unknown fields.
func ParseComponentResult(b []byte) (m ComponentResult, err error) {
	if len(b) > maxComponentResult {
		return m, fmt.Errorf("parse %s: it has %d bytes, the limit is %d", kindComponent, len(b), maxComponentResult)
	}
	if err = parse(b, kindComponent, &m); err == nil {
		err = required(kindComponent, "snapshot", m.Snapshot, "component", m.Component, "phase", m.Phase)
	}
	return m, err
}

// parse checks the header first: in a file of a newer version, the unknown fields are not the mistake.
func parse(b []byte, kind string, into any) error {
	if err := check(b); err != nil {
		return fmt.Errorf("parse %s: %w", kind, err)
	}
	var h Header
	if err := yaml.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("parse %s: %w", kind, err)
	}
	switch {
	case h.APIVersion != apiVersion || h.Kind != kind:
		return fmt.Errorf("parse %s: found %q %q", kind, h.APIVersion, h.Kind)
	case h.FormatVersion < 1 || h.FormatVersion > formatVersion:
		return fmt.Errorf("parse %s: format version %d is not supported, want %d", kind, h.FormatVersion, formatVersion)
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil {
		return fmt.Errorf("parse %s: %w", kind, err)
	}
	return nil
}

func required(kind string, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return fmt.Errorf("parse %s: %s is missing", kind, pairs[i])
		}
	}
	return nil
}
