/* Which part a key goes to, by the CRC-32 of its UTF-8; and keys dealt out to the parts with what belongs to them, as
 * columns, or as lines and counts.
 */

#include "loops.h"
#include "text.h"

/* ------------------------------------------------------------------ CRC-32 */

static uint32_t crc_table[256];

/* Of the reflected polynomial of CRC-32 (Williams, A Painless Guide to CRC Error Detection Algorithms, 1993). */
void
fill_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0xEDB88320) : crc >> 1;
        crc_table[i] = crc;
    }
}

/* Up to here a byte at a time is faster than a call of zlib. */
#define SHORT_BYTES 48

/* CRC-32 of bytes; -1 if zlib fails. */
static int64_t
crc32(State *state, PyObject *data)
{
    Py_ssize_t length = PyBytes_Size(data);
    if (length > SHORT_BYTES) {
        PyObject *number = PyObject_CallFunctionObjArgs(state->zlib_crc32, data, NULL);
        int64_t crc = number != NULL ? PyLong_AsLongLong(number) : -1;
        Py_XDECREF(number);
        return crc;
    }
    const unsigned char *bytes = (const unsigned char *)PyBytes_AsString(data);
    uint32_t crc = UINT32_MAX;
    for (Py_ssize_t i = 0; i < length; i++)
        crc = crc_table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    return (uint32_t)~crc;
}

/* CRC-32 of the UTF-8 of a str, and this itself; -1 if there was an error. */
static int64_t
crc32_of(State *state, PyObject *key, PyObject **data)
{
    *data = utf8(key);
    return *data != NULL ? crc32(state, *data) : -1;
}

PyObject *
crc32_modulo(PyObject *module, PyObject *args)
{
    PyObject *keys;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "O!n:crc32_modulo", &PyList_Type, &keys, &n))
        return NULL;
    if (n < 1) {
        PyErr_SetString(PyExc_ValueError, "modulo what is not positive");
        return NULL;
    }
    State *state = PyModule_GetState(module);
    Py_ssize_t length = PyList_Size(keys);
    PyObject *numbers = PyList_New(length);
    for (Py_ssize_t i = 0; numbers != NULL && i < length; i++) {
        PyObject *data, *number = NULL;
        int64_t crc = crc32_of(state, PyList_GetItem(keys, i), &data);
        Py_XDECREF(data);
        if (crc >= 0)
            number = PyLong_FromLongLong(crc % n);
        if (number == NULL || PyList_SetItem(numbers, i, number) < 0)
            Py_CLEAR(numbers);
    }
    return numbers;
}

static int
append_byte(PyObject *array, unsigned char byte)
{
    Py_ssize_t length = PyByteArray_Size(array);
    if (PyByteArray_Resize(array, length + 1) < 0)
        return -1;
    PyByteArray_AsString(array)[length] = (char)byte;
    return 0;
}

/* Key and value number i go to that part. */
static int
append(PyObject *part, PyObject *keys, PyObject *values, Py_ssize_t i)
{
    if (part == NULL)
        return -1; /* there is none of that number */
    PyObject *its_keys = NULL, *its_values = NULL;
    if (PyTuple_Check(part) && PyTuple_Size(part) == 2) {
        its_keys = PyTuple_GetItem(part, 0);
        its_values = PyTuple_GetItem(part, 1);
    }
    int bytes = PyBytes_Check(values);
    if (its_keys == NULL || !PyList_Check(its_keys) ||
        !(bytes ? PyByteArray_Check(its_values) : PyList_Check(its_values))) {
        PyErr_SetString(PyExc_TypeError, "a part is to be a list and, as the values are a list or bytes, a list or a bytearray");
        return -1;
    }
    if (PyList_Append(its_keys, PyList_GetItem(keys, i)) < 0)
        return -1;
    if (bytes)
        return append_byte(its_values, (unsigned char)PyBytes_AsString(values)[i]);
    return PyList_Append(its_values, PyList_GetItem(values, i));
}

PyObject *
distribute(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *parts, *numbers, *keys, *values;
    if (!PyArg_ParseTuple(args, "O!O!O!O:distribute", &PyList_Type, &parts, &PyList_Type, &numbers, &PyList_Type,
                          &keys, &values))
        return NULL;
    if (!is_column(values))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (PyList_Size(numbers) != length || PyObject_Size(values) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a number and a value for each key");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_ssize_t number = PyLong_AsSsize_t(PyList_GetItem(numbers, i));
        if (number == -1 && PyErr_Occurred())
            return NULL;
        if (append(PyList_GetItem(parts, number), keys, values, i) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ lines */

/* Keys, a line each, and how often each of them came, a byte each. */
typedef struct {
    Buffer text, counts;
} Lines;

/* More characters than that are not copied. */
#define MOST_LINES (1 << 24)

/* Append a key to the lines of its part. 0 if it cannot be a line, -1 if there was an error. */
static int
append_line(State *state, Lines *lines, Py_ssize_t n, PyObject *key, const char *count)
{
    PyObject *data;
    int64_t crc = crc32_of(state, key, &data);
    int status = -1;
    if (crc >= 0) {
        const char *text = PyBytes_AsString(data);
        size_t length = (size_t)PyBytes_Size(data);
        Lines *its = &lines[crc % n];
        if (memchr(text, '\n', length) != NULL)
            status = 0;
        else if ((its->counts.length == 0 || append_bytes(&its->text, "\n", 1) == 0) &&
                 append_bytes(&its->text, text, length) == 0 && append_bytes(&its->counts, count, 1) == 0)
            status = 1;
    }
    Py_XDECREF(data);
    return status;
}

/* 1 if all keys have become lines, 0 if one cannot, -1 if there was an error. */
static int
append_lines(State *state, Lines *lines, Py_ssize_t n, PyObject *keys, const char *counts, Py_ssize_t length)
{
    Py_ssize_t characters = 0;
    int status = 1;
    for (Py_ssize_t i = 0; i < length && status == 1; i++) {
        /* zlib lets other threads run, so that there might be fewer keys now */
        if (i + AHEAD < PyList_Size(keys))
            fetch_text(PyList_GetItem(keys, i + AHEAD));
        PyObject *key = PyList_GetItem(keys, i);
        if (key == NULL)
            return -1;
        if (!PyUnicode_CheckExact(key) || (characters += PyUnicode_GetLength(key)) > MOST_LINES)
            return 0;
        Py_INCREF(key);
        status = append_line(state, lines, n, key, &counts[i]);
        Py_DECREF(key);
    }
    return status;
}

static PyObject *
text_and_counts(const Lines *lines)
{
    const Buffer *text = &lines->text, *counts = &lines->counts;
    if (counts->length == 0)
        return Py_BuildValue("(sy)", "", "");
    PyObject *decoded = str_of_utf8(text->bytes, text->length);
    return decoded == NULL ? NULL : Py_BuildValue("(Ny#)", decoded, counts->bytes, (Py_ssize_t)counts->length);
}

static PyObject *
list_of_lines(const Lines *lines, Py_ssize_t n)
{
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        PyObject *pair = text_and_counts(&lines[i]);
        if (pair == NULL || PyList_SetItem(list, i, pair) < 0)
            Py_CLEAR(list);
    }
    return list;
}

PyObject *
lines_by_crc32(PyObject *module, PyObject *args)
{
    PyObject *keys;
    const char *counts;
    Py_ssize_t length, n;
    if (!PyArg_ParseTuple(args, "O!y#n:lines_by_crc32", &PyList_Type, &keys, &counts, &length, &n))
        return NULL;
    if (n < 1 || PyList_Size(keys) != length) {
        PyErr_SetString(PyExc_ValueError, "there are to be parts, and a count for each key");
        return NULL;
    }
    Lines *lines = PyMem_Calloc((size_t)n, sizeof(Lines));
    if (lines == NULL)
        return PyErr_NoMemory();
    PyObject *result = NULL;
    int status = append_lines(PyModule_GetState(module), lines, n, keys, counts, length);
    if (status > 0)
        result = list_of_lines(lines, n);
    else if (status == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyMem_Free(lines[i].text.bytes);
        PyMem_Free(lines[i].counts.bytes);
    }
    PyMem_Free(lines);
    return result;
}
