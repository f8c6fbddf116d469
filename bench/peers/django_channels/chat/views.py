from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from rest_framework import generics
from rest_framework.permissions import AllowAny
from rest_framework.response import Response

from chat.models import Message, Post, Room
from chat.serializers import (
    MessageSerializer,
    PostSerializer,
    RoomSerializer,
    UserIn,
    UserSerializer,
)


def readyz(_request):
    return JsonResponse({"status": "ok"})


class CreateUser(generics.CreateAPIView):
    permission_classes = [AllowAny]
    serializer_class = UserIn


class ShowProfile(generics.RetrieveAPIView):
    serializer_class = UserSerializer

    def get_object(self):
        return self.request.user


class LastFirst:
    """The newest rows of a list, oldest first."""

    def list(self, request, *args, **kwargs):
        query = self.get_queryset()
        limit = min(int(request.query_params.get("limit", 100)), 1000)
        if before := request.query_params.get("before"):
            query = query.filter(id__lt=int(before))
        return Response(self.get_serializer(query.order_by("-id")[:limit][::-1], many=True).data)


class Posts(LastFirst, generics.ListCreateAPIView):
    serializer_class = PostSerializer
    queryset = Post.objects.all()

    def perform_create(self, serializer):
        serializer.save(author=self.request.user)


class Rooms(generics.ListCreateAPIView):
    serializer_class = RoomSerializer

    def get_queryset(self):
        return self.request.user.rooms.prefetch_related("members").order_by("id")

    def create(self, request, *args, **kwargs):
        other = get_object_or_404(User, username=request.data["recipient"])
        name = "_".join(sorted((request.user.username, other.username)))
        room, _ = Room.objects.get_or_create(name=name)
        room.members.add(request.user, other)
        return Response(self.get_serializer(room).data, 201)


class Messages(LastFirst, generics.ListCreateAPIView):
    serializer_class = MessageSerializer

    def get_room(self):
        return get_object_or_404(Room, name=self.kwargs["name"], members=self.request.user)

    def get_queryset(self):
        return Message.objects.filter(room=self.get_room()).select_related("user")

    def perform_create(self, serializer):
        room = self.get_room()
        serializer.save(room=room, user=self.request.user)
        async_to_sync(get_channel_layer().group_send)(
            f"room.{room.id}", {"type": "chat.message", "message": serializer.data}
        )
