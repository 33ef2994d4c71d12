/* Totals: what the counts of lines add up to, in a hash table whose keys are bytes that stand side by side, not objects.
 */

#include "loops.h"
#include "table.h"
#include "text.h"

/* A text, and the sum of its numbers. There is no object for it until somebody asks: a reduce task reads each word from
 * many map tasks. */
typedef struct {
    size_t start, length; /* of its UTF-8 */
    uint64_t total;
} Total;

typedef struct {
    PyObject_HEAD
    Table table;
    Total *totals; /* room for half as many as there are slots */
    size_t used;
    Buffer utf8; /* of all of them */
} Totals;

/* Appleby, MurmurHash2 for 64 bits. */
static uint32_t
hash_bytes(const char *bytes, size_t length)
{
    const uint64_t factor = UINT64_C(0xC6A4A7935BD1E995);
    uint64_t hash = length * factor;
    while (length > 0) {
        uint64_t part = 0;
        size_t some = length < sizeof part ? length : sizeof part;
        memcpy(&part, bytes, some);
        part *= factor;
        part = (part ^ part >> 47) * factor;
        hash = (hash ^ part) * factor;
        bytes += some;
        length -= some;
    }
    hash = (hash ^ hash >> 47) * factor;
    return (uint32_t)(hash >> (64 - HASH_BITS));
}

/* The slot of a text: empty if it is not there. */
static Slot *
slot_of(const Totals *self, const char *bytes, size_t length, uint32_t hash)
{
    const Table *table = &self->table;
    size_t at = first_slot(table, hash);
    for (; table->slots[at].entry; at = next_slot(table, at)) {
        const Total *total = &self->totals[table->slots[at].entry - 1];
        if (table->slots[at].hash == hash && total->length == length &&
            memcmp(self->utf8.bytes + total->start, bytes, length) == 0)
            break;
    }
    return &table->slots[at];
}

static int
add_to_total(Totals *self, const char *bytes, size_t length, unsigned char number)
{
    if (self->used == self->table.size / 2) {
        Total *totals = grow(&self->table, self->totals, sizeof(Total));
        if (totals == NULL)
            return -1;
        self->totals = totals;
    }
    uint32_t hash = hash_bytes(bytes, length);
    Slot *slot = slot_of(self, bytes, length, hash);
    if (slot->entry) {
        self->totals[slot->entry - 1].total += number;
        return 0;
    }
    size_t start = self->utf8.length;
    if (append_bytes(&self->utf8, bytes, length) < 0)
        return -1;
    self->totals[self->used++] = (Total){start, length, number};
    *slot = (Slot){hash, (uint32_t)self->used};
    return 0;
}

/* -1 and ValueError if there are not as many lines as numbers. */
static int
add_lines(Totals *self, const char *text, size_t length, const unsigned char *numbers, Py_ssize_t count)
{
    const char *end = text + length;
    for (Py_ssize_t i = 0; i < count; i++) {
        const char *feed = text != NULL ? memchr(text, '\n', (size_t)(end - text)) : NULL;
        const char *line_end = feed != NULL ? feed : end;
        if (text == NULL || (i == count - 1 && feed != NULL)) {
            PyErr_SetString(PyExc_ValueError, "there is to be a number for each line");
            return -1;
        }
        if (add_to_total(self, text, (size_t)(line_end - text), numbers[i]) < 0)
            return -1;
        text = feed != NULL ? feed + 1 : NULL;
    }
    if (text != NULL) {
        PyErr_SetString(PyExc_ValueError, "there is to be a number for each line");
        return -1;
    }
    return 0;
}

/* What stands for the key, if it is a str, in UTF-8; NULL without an exception if it is none. */
static PyObject *
utf8_at(PyObject *keys, Py_ssize_t i)
{
    PyObject *key = PyList_GetItem(keys, i);
    return key != NULL && PyUnicode_CheckExact(key) ? utf8(key) : NULL;
}

static PyObject *
Totals_add(PyObject *object, PyObject *args)
{
    Totals *self = (Totals *)object;
    PyObject *keys;
    const char *numbers;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "Oy#:add", &keys, &numbers, &count))
        return NULL;
    if (PyUnicode_Check(keys)) {
        PyObject *data = utf8(keys);
        if (data == NULL)
            return NULL;
        int status = add_lines(self, PyBytes_AsString(data), (size_t)PyBytes_Size(data), (const unsigned char *)numbers, count);
        Py_DECREF(data);
        if (status < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    if (!PyList_Check(keys) || PyList_Size(keys) != count) {
        PyErr_SetString(PyExc_ValueError, "there is to be a list of keys, with a number for each");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *data = utf8_at(keys, i);
        int status = -1;
        if (data != NULL)
            status = add_to_total(self, PyBytes_AsString(data), (size_t)PyBytes_Size(data), (unsigned char)numbers[i]);
        else if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "only keys that are str are added up here");
        Py_XDECREF(data);
        if (status < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* The total of a key, which is 0 then. */
static uint64_t
take_total(Totals *self, PyObject *data)
{
    if (data == NULL || self->table.size == 0)
        return 0;
    const char *bytes = PyBytes_AsString(data);
    size_t length = (size_t)PyBytes_Size(data);
    const Slot *slot = slot_of(self, bytes, length, hash_bytes(bytes, length));
    if (!slot->entry)
        return 0;
    Total *total = &self->totals[slot->entry - 1];
    uint64_t taken = total->total;
    total->total = 0;
    return taken;
}

static PyObject *
Totals_take(PyObject *object, PyObject *keys)
{
    Totals *self = (Totals *)object;
    if (!PyList_Check(keys)) {
        PyErr_SetString(PyExc_TypeError, "keys are to be a list");
        return NULL;
    }
    Py_ssize_t length = PyList_Size(keys);
    PyObject *taken = PyList_New(length);
    for (Py_ssize_t i = 0; taken != NULL && i < length; i++) {
        PyObject *data = utf8_at(keys, i);
        PyObject *total = PyErr_Occurred() ? NULL : PyLong_FromUnsignedLongLong(take_total(self, data));
        Py_XDECREF(data);
        if (total == NULL || PyList_SetItem(taken, i, total) < 0)
            Py_CLEAR(taken);
    }
    return taken;
}

static void
clear_totals(Totals *self)
{
    PyMem_Free(self->table.slots);
    PyMem_Free(self->totals);
    PyMem_Free(self->utf8.bytes);
    self->table = (Table){NULL, 0, 0};
    self->totals = NULL;
    self->used = 0;
    self->utf8 = (Buffer){NULL, 0, 0};
}

static PyObject *
Totals_drain(PyObject *object, PyObject *Py_UNUSED(none))
{
    Totals *self = (Totals *)object;
    Py_ssize_t count = 0;
    for (size_t i = 0; i < self->used; i++)
        count += self->totals[i].total > 0;
    PyObject *keys = PyList_New(count), *numbers = PyList_New(count), *result = NULL;
    if (keys == NULL || numbers == NULL)
        goto end;
    count = 0;
    for (size_t i = 0; i < self->used; i++) {
        const Total *total = &self->totals[i];
        if (total->total == 0)
            continue;
        PyObject *key = str_of_utf8(self->utf8.bytes + total->start, total->length);
        PyObject *number = key != NULL ? PyLong_FromUnsignedLongLong(total->total) : NULL;
        if (number == NULL) {
            Py_XDECREF(key);
            goto end;
        }
        PyList_SetItem(keys, count, key);
        PyList_SetItem(numbers, count++, number);
    }
    result = PyTuple_Pack(2, keys, numbers);
end:
    clear_totals(self);
    Py_XDECREF(keys);
    Py_XDECREF(numbers);
    return result;
}

static void
Totals_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    clear_totals((Totals *)self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef Totals_methods[] = {
    {"add", Totals_add, METH_VARARGS, NULL},
    {"take", Totals_take, METH_O, NULL},
    {"drain", Totals_drain, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Totals_slots[] = {
    {Py_tp_methods, Totals_methods},
    {Py_tp_dealloc, Totals_dealloc},
    {0, NULL},
};

PyType_Spec Totals_spec = {
    .name = "mapreduce._loops.Totals",
    .basicsize = sizeof(Totals),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = Totals_slots,
};
