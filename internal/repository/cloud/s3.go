package cloud

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/cairn-backup/cairn/internal/repository"
)

// s3Codes are the error codes of the S3 protocol that messages show. A server can say anything, and the address of a
// storage can lead to any server.
var s3Codes = codes(`
	AccessDenied AccountProblem AllAccessDisabled AuthorizationHeaderMalformed BadDigest
	ConditionalRequestConflict EntityTooLarge ExpiredToken IncompleteBody InternalError InvalidAccessKeyId
	InvalidArgument InvalidBucketName InvalidDigest InvalidObjectState InvalidRange InvalidRegion InvalidRequest
	InvalidSecurity InvalidStorageClass InvalidToken InvalidTokenId KMS.DisabledException KMS.NotFoundException
	KMS.InvalidStateException MethodNotAllowed MissingContentMD5 MissingSecurityHeader NoSuchBucket NoSuchKey
	NoSuchUpload NotImplemented NotSignedUp OperationAborted PermanentRedirect PreconditionFailed QuotaExceeded
	RequestLimitExceeded RequestThrottled RequestTimeout RequestTimeTooSkewed ServiceUnavailable
	SignatureDoesNotMatch SlowDown TemporaryRedirect Throttling ThrottlingException TooManyRequests
	XAmzContentSHA256Mismatch XMinioStorageFull`)

func codes(list string) map[string]bool {
	out := map[string]bool{}
	for _, c := range strings.Fields(list) {
		out[c] = true
	}
	return out
}

// ofS3 says what a server of S3 answered, without its words: they can be the answer of any server.
//
// The words still choose the kind where a server has a code of its own.
func ofS3(op string, answer minio.ErrorResponse, err error) error {
	code := http.StatusText(answer.StatusCode)
	if s3Codes[answer.Code] {
		code = answer.Code
	}
	kind := repository.S3Kind(answer.Code)
	if kind == nil {
		kind = repository.KindOf(err)
	}
	return &repository.Error{Op: op, Kind: kind, Err: said(answer.StatusCode, code, err)}
}

// said returns the error for an answer.
func said(status int, code string, err error) error {
	text := "the storage said"
	if status != 0 {
		text += " " + strconv.Itoa(status)
	}
	return repository.Worded(strings.TrimSpace(text+" "+code), err)
}
