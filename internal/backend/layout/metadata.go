package layout

import (
	"fmt"
	"time"

	"sigs.k8s.io/yaml"
)

// FormatVersion is the version of the files this package writes. A reader refuses higher ones.
const FormatVersion = 1

// APIVersion and the kinds of the files.
const (
	APIVersion     = "storage.cairn.dev/v1"
	KindStorage    = "StorageMetadata"
	KindRepository = "RepositoryMetadata"
	KindComponent  = "ComponentResult"
	KindRemoval    = "Removal"
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
	// UID identifies the storage itself; it is made once and survives clusters.
	UID        string    `json:"uid"`
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
	Created             time.Time `json:"created"`
	// KeyID tells which encryption key is needed. It is never the key, nor made from it in a way that helps to
	// guess it.
	KeyID string `json:"keyID"`
}

// ComponentResult says how the backup of one component of a Snapshot ended. With those of the other components
// a Snapshot can be rebuilt without a cluster. No name of a user's file is in it.
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
	// What of the source is missing from it, or may be torn.
	Unreadable           int64 `json:"unreadable,omitempty"`
	AttributesUnreadable int64 `json:"attributesUnreadable,omitempty"`
	Changed              int64 `json:"changed,omitempty"`

	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Error string    `json:"error,omitempty"`
}

// Removal remembers a Snapshot that was removed: what an engine has deleted may come back while others write, and is then
// deleted again.
type Removal struct {
	Header      `json:",inline"`
	Snapshot    string    `json:"snapshot"`
	SnapshotUID string    `json:"snapshotUID"`
	IDs         []string  `json:"ids,omitempty"` // of the engine's snapshots
	Seen        time.Time `json:"seen"`          // when they were there last
}

// Marshal gives the file's bytes. Times are written in UTC.
func (m Removal) Marshal() ([]byte, error) {
	m.Header, m.Seen = header(KindRemoval), m.Seen.UTC()
	return yaml.Marshal(m)
}

// ParseRemoval reads what Removal.Marshal wrote and refuses unknown fields.
func ParseRemoval(b []byte) (m Removal, err error) {
	if err = parse(b, KindRemoval, &m); err == nil {
		err = required(KindRemoval, "snapshotUID", m.SnapshotUID)
	}
	return m, err
}

// Marshal gives the file's bytes. Times are written in UTC.
func (m StorageMetadata) Marshal() ([]byte, error) {
	m.Header, m.Created = header(KindStorage), m.Created.UTC()
	return yaml.Marshal(m)
}

// Marshal gives the file's bytes. Times are written in UTC.
func (m RepositoryMetadata) Marshal() ([]byte, error) {
	m.Header, m.Created = header(KindRepository), m.Created.UTC()
	return yaml.Marshal(m)
}

// Marshal gives the file's bytes. Times are written in UTC.
func (m ComponentResult) Marshal() ([]byte, error) {
	m.Header, m.Start, m.End = header(KindComponent), m.Start.UTC(), m.End.UTC()
	return yaml.Marshal(m)
}

func header(kind string) Header {
	return Header{APIVersion: APIVersion, Kind: kind, FormatVersion: FormatVersion}
}

// ParseStorageMetadata reads what StorageMetadata.Marshal wrote and refuses unknown fields.
func ParseStorageMetadata(b []byte) (m StorageMetadata, err error) {
	if err = parse(b, KindStorage, &m); err == nil {
		err = required(KindStorage, "uid", m.UID, "clusterUID", m.ClusterUID)
	}
	return m, err
}

// ParseRepositoryMetadata reads what RepositoryMetadata.Marshal wrote and refuses unknown fields.
func ParseRepositoryMetadata(b []byte) (m RepositoryMetadata, err error) {
	if err = parse(b, KindRepository, &m); err == nil {
		err = required(KindRepository, "driver", m.Driver, "clusterUID", m.ClusterUID, "repositoryUID", m.RepositoryUID)
	}
	return m, err
}

// ParseComponentResult reads what ComponentResult.Marshal wrote and refuses unknown fields.
func ParseComponentResult(b []byte) (m ComponentResult, err error) {
	if err = parse(b, KindComponent, &m); err == nil {
		err = required(KindComponent, "snapshot", m.Snapshot, "component", m.Component, "phase", m.Phase)
	}
	return m, err
}

// parse looks at the header first: of a newer version the unknown fields are not what is wrong.
func parse(b []byte, kind string, into any) error {
	var h Header
	if err := yaml.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("parse %s: %w", kind, err)
	}
	switch {
	case h.APIVersion != APIVersion || h.Kind != kind:
		return fmt.Errorf("parse %s: found %q %q", kind, h.APIVersion, h.Kind)
	case h.FormatVersion < 1 || h.FormatVersion > FormatVersion:
		return fmt.Errorf("parse %s: format version %d is not supported, %d is", kind, h.FormatVersion, FormatVersion)
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
