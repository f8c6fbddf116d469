import json

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import AccessToken

from chat.models import Message, Room
from chat.serializers import MessageSerializer


class ChatConsumer(AsyncWebsocketConsumer):
    """One socket in one room."""

    async def connect(self):
        headers = dict(self.scope["headers"])
        token = headers[b"authorization"].decode().removeprefix("Bearer ")
        self.user, self.room = await self.find(token, self.scope["url_route"]["kwargs"]["name"])
        self.group = f"room.{self.room.id}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    @database_sync_to_async
    def find(self, token, name):
        user = User.objects.get(id=AccessToken(token)["user_id"])
        return user, Room.objects.get(name=name, members=user)

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data):
        message = await self.save(json.loads(text_data)["message"])
        await self.channel_layer.group_send(
            self.group, {"type": "chat.message", "message": message}
        )

    @database_sync_to_async
    def save(self, content):
        message = Message.objects.create(room=self.room, user=self.user, content=content)
        return MessageSerializer(message).data

    async def chat_message(self, event):
        await self.send(text_data=json.dumps(event["message"], ensure_ascii=False))
