package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// apiVersions is the key whose answers always begin with a plain header.
const apiVersions = 18

// answerBytesMax: no answer that we ask for and read is larger.
const answerBytesMax = 256 << 20

// framed puts the size before a request.
func framed(request []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)
}

// encoded is the frame of a sound request.
func encoded(request kmsg.Request, correlation int32) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("attack")).AppendRequest(nil, request, correlation)
}

// header is what stands before the body of a request of a version without tagged fields.
func header(key, version int16, correlation int32, client string) []byte {
	bytes := binary.BigEndian.AppendUint16(nil, uint16(key))
	bytes = binary.BigEndian.AppendUint16(bytes, uint16(version))
	bytes = binary.BigEndian.AppendUint32(bytes, uint32(correlation))
	bytes = binary.BigEndian.AppendUint16(bytes, uint16(len(client)))
	return append(bytes, client...)
}

// flexible is the same with a field for tags, which are none.
func flexible(key, version int16, correlation int32) []byte {
	return append(header(key, version, correlation, "attack"), 0)
}

// read takes one answer: what follows its correlation id, and the id.
func read(conn net.Conn) (body []byte, correlation int32, err error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, 0, err
	}
	length := binary.BigEndian.Uint32(size[:])
	if length < 4 || length > answerBytesMax {
		return nil, 0, fmt.Errorf("an answer of %d bytes", length)
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, 0, err
	}
	return body[4:], int32(binary.BigEndian.Uint32(body)), nil
}

// decoded is the answer to a request of this key and version.
func decoded(key, version int16, body []byte) (kmsg.Response, error) {
	response := kmsg.ResponseForKey(key)
	if response == nil {
		return nil, fmt.Errorf("an answer to the unknown key %d", key)
	}
	response.SetVersion(version)
	if response.IsFlexible() && key != apiVersions {
		if len(body) == 0 || body[0] != 0 {
			return nil, errors.New("an answer with tags in its header")
		}
		body = body[1:]
	}
	return response, response.ReadFrom(body)
}

// ask sends one request and decodes its answer.
func ask(conn net.Conn, request kmsg.Request, limit time.Duration) (kmsg.Response, error) {
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(encoded(request, 1)); err != nil {
		return nil, err
	}
	body, _, err := read(conn)
	if err != nil {
		return nil, err
	}
	return decoded(request.Key(), request.GetVersion(), body)
}

// reaction names what became of a request: "closed", "silent", or the first error code of its answer.
func reaction(key, version int16, body []byte, err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silent"
	case err != nil:
		return "closed"
	}
	response, err := decoded(key, version, body)
	if err != nil {
		return "cannot be decoded"
	}
	return codeName(firstCode(response))
}

func codeName(code int16) string {
	if code == 0 {
		return "answered"
	}
	return kerr.TypedErrorForCode(code).Message
}

// firstCode is the first error that an answer tells, wherever it has a field for one, or 0.
func firstCode(response kmsg.Response) int16 { return codeIn(reflect.ValueOf(response).Elem()) }

func codeIn(value reflect.Value) int16 {
	switch value.Kind() {
	case reflect.Struct:
		for at := range value.NumField() {
			field := value.Field(at)
			if value.Type().Field(at).Name == "ErrorCode" {
				if code := int16(field.Int()); code != 0 {
					return code
				}
			} else if code := codeIn(field); code != 0 {
				return code
			}
		}
	case reflect.Slice:
		if value.Type().Elem().Kind() != reflect.Struct {
			return 0
		}
		for at := range value.Len() {
			if code := codeIn(value.Index(at)); code != 0 {
				return code
			}
		}
	}
	return 0
}
